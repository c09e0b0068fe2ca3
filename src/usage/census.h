/*-------------------------------------------------------------------------
 *
 * census.h
 *	  What was counted in a database, when, and is it time to count anew?
 *
 * Who asks gets what was counted last, at once, and has it counted anew by the
 * database's worker when that is due: so often that it takes at most a hundredth
 * of the time, and not at all where nobody asks.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_USAGE_CENSUS_H
#define UT_USAGE_CENSUS_H

#include "store/count.h"

/* When something was counted, and what it took. */
typedef struct UtCounted
{
	TimestampTz at;				/* it began; 0: not yet */
	TimestampTz due;			/* not again before */
	int64		took;			/* microseconds of work */
} UtCounted;

typedef struct UtCensus
{
	Oid			database;		/* InvalidOid: free */
	bool		wanted;			/* somebody has asked for what is due */
	TimestampTz asked_at;
	UtCounted	tokens_counted;
	UtTokenCounts tokens;
	UtCounted	checks_counted;
	UtCheckCounts checks;
	TimestampTz written;		/* all notes from before are */

	/* the count that is going on */
	TimestampTz rest_until;		/* nothing is counted before */
	uint32		page;
	int			check;
	UtCounted	going;
	UtTokenCounts token_sums;
	UtCheckCounts check_sums;
} UtCensus;

/*
 * For whoever asks: what is known of this database, and have what is due
 * counted.  Needs shared memory.
 */
extern void ut_census_ask(UtCensus *known);

/*
 * For the launcher: in which databases something is to be counted by a worker
 * that is to be had, at most UT_RUNS; when that is the next time, or DT_NOEND;
 * and this database is gone.
 */
extern int	ut_census_list(Oid *databases);
extern TimestampTz ut_census_next_due(void);
extern void ut_census_forget(Oid database);

/*
 * For the worker of this database, in a transaction: count a part of what is
 * wanted; false when no more is.  When that raised an error, it is given up:
 * tokens for a while, a check as one that nobody knows.
 */
extern bool ut_census_count(void);
extern void ut_census_give_up(void);

/* Likewise: the notes of this database from before that time are written or sent. */
extern void ut_census_report_written(TimestampTz before);

#endif							/* UT_USAGE_CENSUS_H */
