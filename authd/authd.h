/*-------------------------------------------------------------------------
 *
 * authd.h
 *	  What do the parts of authd share?
 *
 * One thread runs all of it, so nothing here is locked.  Sizes are in bytes,
 * times in milliseconds of a clock that only goes forward.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef AUTHD_H
#define AUTHD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct MHD_Connection;

/* What a request brings, in the order of the parameters of authorize_many(). */
typedef enum AdField
{
	AD_METHOD, AD_TARGET, AD_KEY, AD_ADDRESS, AD_TYPE, AD_ENCODING, AD_BODY, AD_FIELDS
} AdField;

typedef struct AdText
{
	char	   *data;			/* NULL: not there */
	size_t		len;
} AdText;

/* What is told to the client. */
typedef struct AdReply
{
	int			status;			/* 0: none yet */
	AdText		headers;		/* lines "Name: value" */
	AdText		body;
} AdReply;

/* Among those that wait. */
typedef TAILQ_ENTRY(AdRequest)
AdPlace;

/* From the request line to the end of the answer. */
typedef struct AdRequest
{
	struct MHD_Connection *connection;
	AdText		fields[AD_FIELDS];
	size_t		room;			/* of the body */
	size_t		limit;			/* the same, of what may come */
	bool		started;		/* the headers are read */
	bool		suspended;		/* waits for the database */
	int			attempts;		/* how often it went to a server that was lost */
	int64_t		arrived;
	int64_t		deadline;
	AdReply		reply;
	AdPlace		place;
} AdRequest;

#endif							/* AUTHD_H */
