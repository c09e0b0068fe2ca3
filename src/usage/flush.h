/*-------------------------------------------------------------------------
 *
 * flush.h
 *	  Which notes wait to be written, and whose turn is it?
 *
 * For the launcher and the workers.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_USAGE_FLUSH_H
#define UT_USAGE_FLUSH_H

#include "base/token.h"

/* How a worker's run ended. */
typedef enum UtOutcome
{
	UT_RUN_DONE,				/* nothing is left that could be written */
	UT_RUN_MORE,				/* its time was over, or it was told to stop */
	UT_RUN_FAILED				/* an error, or nothing at all could be
								 * written */
} UtOutcome;

/*
 * Copy notes of a database, up to max, from bucket *cursor, which is moved on,
 * to the one before end; 0 when there are no more.  They stay until they are
 * forgotten: those that were not renewed since, or all of a database.  Sent
 * ones go on to be shown, are not collected again by a standby, and are once
 * more when it was promoted: its primary may have ended before it wrote them.
 */
extern int	ut_flush_collect(Oid database, uint32 *cursor, uint32 end, UtNote *notes, int max);
extern void ut_flush_forget(Oid database, const UtNote *notes, int count, bool sent);

/* How many buckets there are: the cursor's end. */
extern uint32 ut_flush_end(void);

/* Drop all notes of a database that is gone; returns how many uses are lost, which are counted. */
extern uint64 ut_flush_drop_database(Oid database);

/* The databases that have notes to be written, sorted, in the current context. */
extern Oid *ut_flush_list_databases(int *count);

/*
 * For the launcher: a place for the run of a database's worker; -1 when it has
 * one or is not due yet, -2 when all places are taken.
 */
#define UT_RUN_NOT_DUE (-1)
#define UT_RUN_NO_PLACE (-2)
extern int	ut_flush_open_run(Oid database);

/*
 * The worker in that place has ended: false when it did not say how, which
 * counts as a failure.
 */
extern bool ut_flush_close_run(int place);

/* No worker could be asked for: the database waits for the next free slot. */
extern void ut_flush_cancel_run(int place);

/* Which databases are due to have a worker again, at most UT_RUNS; and when is the next one, or DT_NOEND. */
extern int	ut_flush_list_due(Oid *databases);
extern TimestampTz ut_flush_next_due(void);

/* How many workers run, and of how many databases the last one failed. */
extern void ut_flush_count_runs(int *running, int *failing);

/* Forget failures, and that runs of a launcher before this one have not ended. */
extern void ut_flush_forgive(void);
extern void ut_flush_abandon_runs(void);

/*
 * For the worker: at which bucket it begins, and how its run ended.  After MORE
 * the next one begins at the cursor, after a rest of so many milliseconds;
 * after FAILED it does so after a second, and twice as long each time, up to a
 * minute.
 */
extern uint32 ut_flush_begin(Oid database);
extern void ut_flush_report_end(Oid database, UtOutcome outcome, uint32 cursor, int rest);

#endif							/* UT_USAGE_FLUSH_H */
