/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  How are the notes of one database written or sent, who is told of its
 *	  tokens that are about to expire, and how are its tokens counted?
 *
 * In batches, each a transaction of its own, with a pause after each of them
 * so that writing takes a tenth of the time, or a quarter when that is not
 * enough.  A worker lives for two seconds, and a batch that hangs for as long
 * again: DROP DATABASE and CREATE DATABASE ... TEMPLATE wait for five.  What it
 * cannot write stays noted.
 *
 * Locking: rows in the order of their selectors, those that are locked by
 * others are skipped; the table with a short lock_timeout.
 *
 * Knows no table, and not when the next worker starts.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "store/store.h"
#include "usage/census.h"
#include "usage/flush.h"
#include "usage/forward.h"
#include "usage/launcher.h"
#include "usage/memory.h"
#include "usage/notice.h"
#include "usage/stat.h"
#include "usage/worker.h"

#define BATCH_NOTES 500			/* written in one transaction; few rows of a
								 * page, so that the room that fillfactor
								 * leaves will do */
#define PAUSE 9					/* after a batch, times what it took */
#define SHORT_PAUSE 3			/* the same while there is more to write than
								 * that does in an interval, or than fills
								 * half of the memory */
#define LIFETIME_MS 2000		/* no batch begins after it */
#define BATCH_MS 2000			/* then a batch is cancelled */
#define STOPPED_REST_MS 1000	/* who stops a worker wants a moment without
								 * one */

/* One run of one worker. */
typedef struct Run
{
	TimestampTz begin;
	uint32		start;			/* at this bucket, and once around */
	uint32		cursor;
	uint32		end;
	bool		wrapped;		/* went on at the first bucket */
	uint64		collected;
	uint64		done;
} Run;

static Run	run;

static volatile sig_atomic_t told_to_stop = false;

/* ---- One batch ---- */

static int
compare_notes(const void *a, const void *b)
{
	return memcmp(((const UtNote *) a)->selector, ((const UtNote *) b)->selector,
				  sizeof(((UtNote *) NULL)->selector));
}

static int
write_notes(UtNote *notes, int count)
{
	int			done;

	enable_timeout_after(STATEMENT_TIMEOUT, BATCH_MS);
	PushActiveSnapshot(GetTransactionSnapshot());
	done = ut_store_write_seen(notes, count);
	PopActiveSnapshot();
	disable_timeout(STATEMENT_TIMEOUT, false);
	return done;
}

/*
 * Write or send some notes; false when there were none left.  They are
 * forgotten only when the transaction has ended well.
 */
static bool
flush_batch(void)
{
	static UtNote notes[BATCH_NOTES];
	int			count;
	int			done = 0;
	bool		sends = RecoveryInProgress();

	StartTransactionCommand();
	count = ut_flush_collect(MyDatabaseId, &run.cursor, run.end, notes, BATCH_NOTES);
	qsort(notes, count, sizeof(UtNote), compare_notes);
	pgstat_report_activity(STATE_RUNNING, "writing when API tokens were used");
	if (!OidIsValid(get_extension_oid("unleash_tokens", true)))
	{
		ut_flush_drop_database(MyDatabaseId);
		ut_census_forget(MyDatabaseId);
		count = 0;
	}
	else if (count > 0)
		done = sends ? ut_forward_send(notes, count) : write_notes(notes, count);
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	run.collected += count;
	run.done += done;
	if (done > 0)
	{
		ut_flush_forget(MyDatabaseId, notes, done, sends);
		ut_stat_report_flush();
	}
	return count > 0;
}

/* A batch of what needs the extension, in so many milliseconds; false when nothing more is to be done, or it is not there. */
static bool
do_batch(const char *activity, int most, bool (*work) (void))
{
	bool		more = false;

	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, activity);
	if (OidIsValid(get_extension_oid("unleash_tokens", true)))
	{
		enable_timeout_after(STATEMENT_TIMEOUT, most);
		PushActiveSnapshot(GetTransactionSnapshot());
		more = work();
		PopActiveSnapshot();
		disable_timeout(STATEMENT_TIMEOUT, false);
	}
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return more;
}

/*
 * What a listener has read must be there after a crash; no standby is waited
 * for, since a worker has no time.
 */
static bool
tell(void)
{
	(void) set_config_option("synchronous_commit", "local", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	return ut_notice_tell();
}

/* Tell of some tokens that are about to expire; false when there were none left. */
static bool
tell_batch(void)
{
	return do_batch("telling which API tokens are about to expire", BATCH_MS, tell);
}

/*
 * Count some tokens, or what a check of doctor() finds; false when nothing more
 * is wanted.  It may come late in a run, and has what is left of its time.
 */
static bool
count_batch(void)
{
	return do_batch("counting API tokens", Max(LIFETIME_MS + BATCH_MS - (GetCurrentTimestamp() - run.begin) / 1000, 1), ut_census_count);
}

/* ---- One run ---- */

/* A batch took so many microseconds: could notes be lost, or wait for longer than an interval? */
static bool
is_behind(int64 took)
{
	double		batches = (double) ut_memory_held() / BATCH_NOTES;

	return ut_memory_is_half_full() || batches * took * (1 + PAUSE) > ut_flush_interval * 1e6;
}

/* Milliseconds to pause after a batch that began then. */
static int
pause_after(TimestampTz start)
{
	int64		took = Max(GetCurrentTimestamp() - start, 1000);

	return Min(took * (is_behind(took) ? SHORT_PAUSE : PAUSE) / 1000, 60000);
}

/* Whoever begins in the middle goes on at the front, up to where it began. */
static bool
wrap(void)
{
	if (run.wrapped || run.start == 0)
		return false;
	run.wrapped = true;
	run.cursor = 0;
	run.end = run.start;
	return true;
}

/* Nothing written of all that was collected: each row is locked, or a primary takes none. */
static UtOutcome
outcome_of_end(void)
{
	return run.collected > 0 && run.done == 0 ? UT_RUN_FAILED : UT_RUN_DONE;
}

/*
 * Rest after a batch that began then; false when the lifetime would be over,
 * and the rest is left to the next worker.
 */
static bool
rest_after(TimestampTz start, int *rest)
{
	*rest = pause_after(start);
	if (TimestampDifferenceExceeds(run.begin, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), *rest), LIFETIME_MS))
		return false;
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 *rest, UT_WAIT_EVENT("UnleashTokensWorkerRest"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return true;
}

static UtOutcome
flush_all(int *rest)
{
	while (!ut_forward_has_nowhere())
	{
		TimestampTz start = GetCurrentTimestamp();
		uint64		done = run.done;

		if (!flush_batch())
		{
			if (wrap())
				continue;
			return outcome_of_end();
		}
		if (RecoveryInProgress() && run.done == done)
			return UT_RUN_FAILED;
		if (!rest_after(start, rest))
			return UT_RUN_MORE;
	}
	return UT_RUN_DONE;
}

/* One batch, before the notes: where these take all the time there is, one in each run. */
static UtOutcome
tell_some(int *rest)
{
	return !RecoveryInProgress() && tell_batch() ? UT_RUN_MORE : UT_RUN_DONE;
}

/* One batch after the other, while there is time. */
static UtOutcome
do_all(bool (*batch) (void), int *rest)
{
	for (;;)
	{
		TimestampTz start = GetCurrentTimestamp();

		if (!batch())
			return UT_RUN_DONE;
		if (!rest_after(start, rest))
			return UT_RUN_MORE;
	}
}

static UtOutcome
tell_all(int *rest)
{
	return do_all(tell_batch, rest);
}

/* One part, also when flushing took all the time there is; the rest while there is some. */
static UtOutcome
count_all(int *rest)
{
	return do_all(count_batch, rest);
}

/* An error has ended a transaction. */
static void
forget_error(void)
{
	HOLD_INTERRUPTS();
	FlushErrorState();
	disable_all_timeouts(false);
	AbortCurrentTransaction();
	RESUME_INTERRUPTS();
}

/* The same: to the log, and to the view in a transaction of its own. */
static void
report_error(void)
{
	ErrorData  *error;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(TopMemoryContext);
	error = CopyErrorData();
	EmitErrorReport();
	forget_error();
	RESUME_INTERRUPTS();
	StartTransactionCommand();
	ut_stat_report_error(error->message);
	CommitTransactionCommand();
}

static UtOutcome
try_to(UtOutcome (*work) (int *rest), int *rest)
{
	volatile UtOutcome outcome = UT_RUN_FAILED;

	PG_TRY();
	{
		outcome = work(rest);
	}
	PG_CATCH();
	{
		report_error();
	}
	PG_END_TRY();
	return outcome;
}

/*
 * That a table is locked, or too large for the time there is, is shown by the
 * age of the numbers, and is no error.  Nor is any a failed run: no number is
 * worth a flush that has to wait.
 */
static void
try_to_count(void)
{
	int			rest;

	PG_TRY();
	{
		(void) count_all(&rest);
	}
	PG_CATCH();
	{
		int			code = geterrcode();

		if (code == ERRCODE_QUERY_CANCELED || code == ERRCODE_LOCK_NOT_AVAILABLE)
			forget_error();
		else
			report_error();
		ut_census_give_up();
	}
	PG_END_TRY();
}

/* ---- The process ---- */

/* Whoever sends SIGTERM may mean to drop the database: that is no failure. */
static void
stop(SIGNAL_ARGS)
{
	told_to_stop = true;
	die(postgres_signal_arg);
}

static void
leave(int code, Datum arg)
{
	if (told_to_stop)
		ut_flush_report_end(DatumGetObjectId(arg), UT_RUN_MORE, run.cursor, STOPPED_REST_MS);
}

static void
set_worker_setting(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SET, true, 0, false);
}

static void
begin(Oid database)
{
	pqsignal(SIGTERM, stop);
	before_shmem_exit(leave, ObjectIdGetDatum(database));
	BackgroundWorkerUnblockSignals();
	/* ALLOW_CONNECTIONS may have been taken away since the notes were made */
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, BGWORKER_BYPASS_ALLOWCONN);
	set_worker_setting("search_path", "pg_catalog, pg_temp");
	set_worker_setting("lock_timeout", "500ms");
	set_worker_setting("synchronous_commit", "off");
	set_worker_setting("row_security", "off");	/* an error where it would
												 * hide rows */
	/* whatever the database's defaults are */
	set_worker_setting("default_transaction_read_only", "off");
	set_worker_setting("default_transaction_isolation", "read committed");
	run.begin = GetCurrentTimestamp();
	run.start = run.cursor = ut_flush_begin(database);
	run.end = ut_flush_end();
}

void
ut_worker_main(Datum arg)
{
	Oid			database = DatumGetObjectId(arg);
	UtOutcome	told;
	UtOutcome	flushed;
	int			rest = 0;

	begin(database);
	told = try_to(tell_some, &rest);
	flushed = try_to(flush_all, &rest);
	if (flushed == UT_RUN_DONE && !ut_forward_has_nowhere())
		ut_census_report_written(run.begin);
	if (told == UT_RUN_MORE && flushed == UT_RUN_DONE)
		told = try_to(tell_all, &rest);
	try_to_count();
	ut_forward_close();
	ut_flush_report_end(database, Max(told, flushed), run.cursor, rest);
	proc_exit(0);
}
