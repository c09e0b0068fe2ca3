/*-------------------------------------------------------------------------
 *
 * rate.h
 *	  May a token be used once more now?
 *
 * What was used is counted in the shared memory of this server: each server
 * counts for itself, a standby too, and a restart forgets what was counted.
 * Without the library in shared_preload_libraries nothing can be counted.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_USAGE_RATE_H
#define UT_USAGE_RATE_H

#include "base/token.h"

typedef enum UtRateOutcome
{
	UT_RATE_PASSED,				/* it may; counted */
	UT_RATE_REFUSED,			/* not yet */
	UT_RATE_FULL,				/* there is no room to count it in */
	UT_RATE_UNCOUNTED			/* there is no shared memory */
} UtRateOutcome;

/* What the bearer of a token is told, whether it passed or was refused. */
typedef struct UtRateState
{
	UtRate		rate;			/* the limit that holds; rate.limit 0: none */
	const char *policy;			/* whose it is: "token", or the name of a type */
	int			remaining;		/* so many more would pass now */
	int			seconds;		/* until one more than those passes, rounded
								 * up */
} UtRateState;

/* Setting unleash_tokens.rate_slots: how many tokens can be counted at once. */
extern int	ut_rate_slots;

/* Memory that is needed; and where it is, emptied when it is new. */
extern Size ut_rate_size(void);
extern void ut_rate_start(void);

/*
 * Count a use of a token of this database.  At most burst uses pass at once and
 * limit in each period behind those; fills in remaining and seconds.  What is
 * counted stays so when the transaction is rolled back.
 */
extern UtRateOutcome ut_rate_take(const char *selector, const UtRate *rate, UtRateState *state);

/* For the view stat: how often was refused, and because of no room; and setting both to zero. */
extern void ut_rate_read_counters(uint64 *refused, uint64 *full);
extern void ut_rate_reset_counters(void);

#endif							/* UT_USAGE_RATE_H */
