/*-------------------------------------------------------------------------
 *
 * origin.h
 *	  From which address does a request come?
 *
 * Each returns UT_ADDRESS_LEN bytes in the current memory context, or NULL when
 * the address is not known for sure.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_ORIGIN_H
#define UT_ORIGIN_H

#include "http/headers.h"
#include "text/address.h"

/* Define the settings unleash_tokens.guard_address_header and guard_trusted_proxies; once. */
extern void ut_origin_init(void);

/* An address as text; NULL when it is none. */
extern const uint8 *ut_origin_read(const char *text, size_t len);

/* What our nginx says in X-Original-Address; it lets no such header of the client's through. */
extern const uint8 *ut_origin_of_request(const UtHeaders *headers);

/*
 * For guard(): of the header that the setting names the last address that is
 * none of a trusted proxy.  When all are, the first one; without the setting,
 * or when one of those looked at cannot be read, none.
 */
extern const uint8 *ut_origin_of_guard(const UtHeaders *headers);

/* Of the client of this session; a unix socket has none. */
extern const uint8 *ut_origin_of_session(void);

#endif							/* UT_ORIGIN_H */
