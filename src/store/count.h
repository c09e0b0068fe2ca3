/*-------------------------------------------------------------------------
 *
 * count.h
 *	  How many tokens are there of each type and state, and what does doctor()
 *	  find?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_STORE_COUNT_H
#define UT_STORE_COUNT_H

#include "base/token.h"

/* A token is in one of these. */
typedef enum UtTokenState
{
	UT_STATE_VALID,
	UT_STATE_PENDING,			/* valid; a new secret waits for its first use */
	UT_STATE_GRACE,				/* valid; the old secret goes on for a while */
	UT_STATE_EXPIRED
} UtTokenState;

#define UT_STATES (UT_STATE_EXPIRED + 1)

/* Within how many days tokens expire: that many numbers are told. */
#define UT_HORIZONS 3
extern const int ut_count_days[UT_HORIZONS];

typedef struct UtTokenCounts
{
	int64		tokens[UT_TOKEN_TYPES][UT_STATES];
	int64		expiring[UT_HORIZONS];	/* not expired; those of fewer days
										 * too */
} UtTokenCounts;

/* What a check of doctor() says. */
typedef enum UtCheckStatus
{
	UT_CHECK_OK,
	UT_CHECK_WARNING,
	UT_CHECK_ERROR,
	UT_CHECK_UNKNOWN
} UtCheckStatus;

#define UT_CHECK_STATUSES (UT_CHECK_UNKNOWN + 1)

/* As doctor() writes them; indexed by UtCheckStatus. */
extern const char *const ut_count_status_names[UT_CHECK_STATUSES];

typedef struct UtCheckCounts
{
	int64		checks[UT_CHECK_STATUSES];
} UtCheckCounts;

/*
 * In a transaction of a process that is a superuser.  Add the tokens of some
 * pages of the table, from *page on, which is moved on; false when these were
 * the last.  A token that is written anew between two calls may be counted twice
 * or not at all.
 */
extern bool ut_store_count_tokens(uint32 *page, UtTokenCounts *counts);

/*
 * The same process: run the next of the checks of doctor(), moved on first, so
 * that one that fails is not tried again, and count what it says; false when
 * there was none left.
 */
extern bool ut_store_count_check(int *check, UtCheckCounts *counts);

#endif							/* UT_STORE_COUNT_H */
