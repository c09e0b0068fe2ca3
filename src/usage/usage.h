/*-------------------------------------------------------------------------
 *
 * usage.h
 *	  When was a token last used?
 *
 * A use is noted in shared memory and written to the table later, in batches,
 * by a worker.  Noting takes no memory, no table and no transaction: it works
 * in READ ONLY transactions and on a standby.  Without the library in
 * shared_preload_libraries everything here does nothing.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_USAGE_H
#define UT_USAGE_H

#include "storage/latch.h"

#include "base/token.h"

/* What became of a secret that was to be validated. */
typedef enum UtVerdict
{
	UT_VERDICT_VALID,
	UT_VERDICT_MALFORMED,		/* by its text alone */
	UT_VERDICT_UNKNOWN,			/* no such token, or another key */
	UT_VERDICT_EXPIRED,
	UT_VERDICT_SCOPELESS		/* no project left */
} UtVerdict;

#define UT_VERDICTS (UT_VERDICT_SCOPELESS + 1)

/* A note taken out of shared memory to be written. */
typedef struct UtNote
{
	char		selector[22];	/* UT_SELECTOR_LEN; not terminated */
	TimestampTz at;
} UtNote;

/* Everything the view unleash_tokens.stat shows. */
typedef struct UtUsageStat
{
	uint64		verdicts[UT_VERDICTS];
	uint64		held;			/* notes in shared memory now */
	uint64		dropped;		/* notes lost to a full bucket or a table that
								 * is gone */
	uint64		flushes;		/* batches written or sent */
	TimestampTz last_flush;		/* UT_TIME_UNSET: not yet */
	TimestampTz reset_at;
	TimestampTz last_error_at;	/* UT_TIME_UNSET: none */
	char		last_error[256];
} UtUsageStat;

/* Settings. */
extern int	ut_usage_slots;
extern int	ut_flush_interval;
extern char *ut_primary_conninfo;

/* From _PG_init while the library is preloaded: ask for memory and launcher. */
extern void ut_usage_init(void);

/* Count a validation; note the use of the token when it is valid. */
extern void ut_usage_count(UtVerdict verdict, const UtToken *token);

/* Note a use; a time that is older than the noted one changes nothing. */
extern void ut_usage_note(const char *selector, TimestampTz at);

/* Raise token->seen_at to the noted use of this database, if that is newer. */
extern void ut_usage_overlay(UtToken *token);

/* The view's row, and setting it to zero; false without shared memory. */
extern bool ut_usage_stat(UtUsageStat *stat);
extern void ut_usage_reset(void);

/*
 * For the flush worker: copy notes of a database, up to max and starting at
 * *cursor, which is moved on; 0 when there are no more.  They stay until they
 * are forgotten: those that were not renewed since, or all of a database.  Sent
 * ones go on to be shown, are not collected again by a standby, and are once
 * more when it was promoted: its primary may have ended before it wrote them.
 */
extern int	ut_usage_collect(Oid database, uint32 *cursor, UtNote *notes, int max);
extern void ut_usage_forget(Oid database, const UtNote *notes, int count, bool sent);
extern void ut_usage_drop_database(Oid database);
extern void ut_usage_report_flush(void);

/*
 * A worker that runs out of time says at which cursor, so that the next one
 * starts soon, and there: else busy tokens at the front would be written again
 * and again, and those at the end never.  Taking it leaves none; 0 is the start.
 */
extern void ut_usage_set_resume(uint32 cursor);
extern uint32 ut_usage_take_resume(void);
extern bool ut_usage_must_resume(void);

extern void ut_usage_report_error(const char *message);

/*
 * For the launcher: which databases have notes?  Returns how many, at most max.
 * Whoever fills half of the memory sets its latch.
 */
extern int	ut_usage_databases(Oid *databases, int max);
extern uint64 ut_usage_count_held(void);
extern bool ut_usage_is_half_full(void);
extern void ut_usage_set_launcher(Latch *latch);
extern void ut_usage_wake_launcher(void);

#endif							/* UT_USAGE_H */
