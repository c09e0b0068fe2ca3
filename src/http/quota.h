/*-------------------------------------------------------------------------
 *
 * quota.h
 *	  How is a client told how often it may come?
 *
 * The header fields of draft-ietf-httpapi-ratelimit-headers-10, a work in
 * progress of the IETF, and Retry-After (RFC 9110 section 10.2.3).
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_QUOTA_H
#define UT_QUOTA_H

#include "lib/stringinfo.h"

#include "usage/rate.h"

/* Add a header to an answer that is being made. */
typedef void (*UtAddHeader) (StringInfo headers, const char *name, const char *value);

/*
 * Add RateLimit-Policy and RateLimit, and when the use was refused Retry-After.
 * Nothing for a token without a limit.
 */
extern void ut_quota_add_headers(StringInfo headers, const UtRateState *state, bool refused,
								 UtAddHeader add);

#endif							/* UT_QUOTA_H */
