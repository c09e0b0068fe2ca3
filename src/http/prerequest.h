/*-------------------------------------------------------------------------
 *
 * prerequest.h
 *	  How does a request to somebody's own API bring its token, and how does
 *	  it hear that it is refused?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_PREREQUEST_H
#define UT_PREREQUEST_H

typedef enum UtMissing
{
	UT_MISSING_REFUSE,
	UT_MISSING_ANONYMOUS
} UtMissing;

/* Settings unleash_tokens.guard_headers and unleash_tokens.guard_missing. */
extern char *ut_guard_headers;
extern int	ut_guard_missing;

/* Define these settings; once, when the library is loaded. */
extern void ut_prerequest_init(void);

/*
 * For PostgREST's db-pre-request: take the token from the headers of the
 * request and let the transaction run as it.  Refusals are raised as PostgREST
 * takes errors with a status of their own: SQLSTATE PGRST, or PTnnn before
 * version 12.
 */
extern void ut_prerequest_guard(void);

#endif							/* UT_PREREQUEST_H */
