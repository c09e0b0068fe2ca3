/*-------------------------------------------------------------------------
 *
 * request.h
 *	  What did a client send?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef AD_REQUEST_H
#define AD_REQUEST_H

#include <stdio.h>

#include <microhttpd.h>

#include "authd.h"

/* Bytes that a connection holds: a head, what the library keeps of each header, cookie and parameter, and the head of an answer. */
#define AD_HEAD_LIMIT (32 * 1024)
#define AD_PART_ROOM 64
#define AD_ANSWER_ROOM (4 * 1024)

/* One with that target, as it was sent; NULL without memory. */
extern AdRequest *ad_request_make(const char *target);

/* Overwrite and free all of it. */
extern void ad_request_free(AdRequest *request);

/*
 * Copy what stands in its head, and overwrite the key where the library has it.
 * address_header is the one in which the client's address is told; empty: the
 * address is that of who asks.  False without memory.
 */
extern bool ad_request_read(AdRequest *request, struct MHD_Connection *connection, const char *method,
							const char *address_header);

/*
 * Can its head mean one thing only, and is there room for an answer behind it?
 * Asked of what the library has taken already, of that version of HTTP.
 */
extern bool ad_request_is_framed(struct MHD_Connection *connection, const char *version);

/* Does its head already say that the body is too large? */
extern bool ad_request_is_too_large(const AdRequest *request, struct MHD_Connection *connection);

/*
 * Add a piece of the body, where an endpoint reads it; one that becomes too large
 * is refused in reply.  False without memory.
 */
extern bool ad_request_add(AdRequest *request, const char *piece, size_t len);

/* Is that its path, as it was sent? */
extern bool ad_request_has_path(const AdRequest *request, const char *path);

#endif							/* AD_REQUEST_H */
