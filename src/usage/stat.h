/*-------------------------------------------------------------------------
 *
 * stat.h
 *	  What does the view unleash_tokens.stat show?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_USAGE_STAT_H
#define UT_USAGE_STAT_H

#include "usage/usage.h"

/* A row of the view; of the whole server. */
typedef struct UtUsageStat
{
	uint64		verdicts[UT_VERDICTS];
	uint64		rate_refused;	/* uses beyond a limit */
	uint64		rate_uncounted; /* uses refused since there was no room */
	uint64		held;			/* notes in shared memory now */
	uint64		dropped;		/* notes lost to a full bucket, or of a table
								 * or database that is gone */
	uint64		flushes;		/* batches written or sent */
	TimestampTz last_flush;		/* UT_TIME_UNSET: not yet */
	TimestampTz reset_at;
	TimestampTz last_error_at;	/* UT_TIME_UNSET: none */
	TimestampTz waits_since;	/* a database for a worker slot;
								 * UT_TIME_UNSET: none does */
	char	   *last_error;		/* in the encoding of this database; what it
								 * has no character for is escaped */
} UtUsageStat;

/* The view's row, and setting it to zero; false, or nothing, without shared memory. */
extern bool ut_stat_read(UtUsageStat *stat);
extern void ut_stat_reset(void);

/* Has a database been left without a worker because no slot was free? */
extern void ut_stat_report_wait(bool waits);

/* A batch was written or sent. */
extern void ut_stat_report_flush(void);

/*
 * Something went wrong.  The message is in the encoding of this process's
 * database, whatever that is; it is cut to UT_ERROR_SIZE bytes of UTF-8.
 * Inside a transaction: conversions are looked up in the catalogs.
 */
extern void ut_stat_report_error(const char *message);

#endif							/* UT_USAGE_STAT_H */
