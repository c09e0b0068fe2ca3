/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  Who writes down when tokens were used, and when?
 *
 * The launcher knows no database: it sees in the notes which ones have some,
 * and keeps no connection, so that DROP DATABASE need not wait for it.  A
 * worker writes the notes of its database in batches, takes a tenth of the time
 * for it, or a quarter when that is not enough, and exits.  What it cannot write
 * stays noted.
 *
 * Locking: rows in the order of their selectors, those that are locked by
 * others are skipped; the table with a short lock_timeout.
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
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "usage/forward.h"
#include "store/store.h"
#include "usage/usage.h"
#include "usage/worker.h"

#define DATABASES 64			/* served in one round; others wait for the
								 * next */
#define BATCH 500				/* notes written in one transaction; few rows
								 * of a page, so that the room that fillfactor
								 * leaves will do */
#define REST 9					/* pause after a batch, times what it took */
#define SHORT_REST 3			/* the same while there is more to write than
								 * that does in an interval, or than fills
								 * half of the memory */
#define LIFETIME_MS 2000		/* a worker does not stand in the way of DROP
								 * DATABASE, which waits five seconds */

/* The last worker of a database. */
typedef struct Served
{
	Oid			database;		/* InvalidOid: free */
	BackgroundWorkerHandle *handle;
} Served;

static bool flush_batch(uint32 *cursor);
static void forget_gone_databases(Oid *databases, int *count);
static void serve_database(Served *served, Oid database);
static void serve_round(Served *served);

void
ut_worker_register_launcher(void)
{
	BackgroundWorker worker = {0};

	strlcpy(worker.bgw_name, "unleash_tokens launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "unleash_tokens launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "unleash_tokens", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "ut_worker_launcher_main", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = 1;
	RegisterBackgroundWorker(&worker);
}

/* ---- Launcher ---- */

static void
leave_launcher(int code, Datum arg)
{
	ut_usage_set_launcher(NULL);
}

/* No database, but the shared catalogs: they tell which databases are gone. */
void
ut_worker_launcher_main(Datum arg)
{
	Served		served[DATABASES] = {{0}};
	TimestampTz last = GetCurrentTimestamp();

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	before_shmem_exit(leave_launcher, (Datum) 0);
	ut_usage_set_launcher(MyLatch);

	while (!ShutdownRequestPending)
	{
		TimestampTz next = TimestampTzPlusMilliseconds(last, ut_flush_interval * INT64CONST(1000));
		long		timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next);

		if (timeout <= 0 || ut_usage_is_half_full() || ut_usage_must_resume())
		{
			last = GetCurrentTimestamp();
			serve_round(served);
			timeout = 1000;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Max(timeout, 10), UT_WAIT_EVENT("UnleashTokensLauncher"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
	/* not 0, after which the server would never start it again */
	proc_exit(1);
}

/* A standby that does not know its primary keeps its notes to itself. */
static void
serve_round(Served *served)
{
	Oid			databases[DATABASES];
	int			count;

	if (RecoveryInProgress() && *ut_primary_conninfo == '\0')
		return;
	count = ut_usage_databases(databases, DATABASES);
	forget_gone_databases(databases, &count);
	if (count == 0)
		(void) ut_usage_take_resume();	/* its database is gone */
	for (int i = 0; i < count; i++)
		serve_database(served, databases[i]);
}

static void
forget_gone_databases(Oid *databases, int *count)
{
	int			kept = 0;

	if (*count == 0)
		return;
	StartTransactionCommand();
	for (int i = 0; i < *count; i++)
	{
		if (SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(databases[i])))
			databases[kept++] = databases[i];
		else
			ut_usage_drop_database(databases[i]);
	}
	CommitTransactionCommand();
	*count = kept;
}

/* The place of a database, or one whose worker has ended. */
static Served *
find_served(Served *served, Oid database)
{
	Served	   *free_place = NULL;

	for (int i = 0; i < DATABASES; i++)
	{
		pid_t		pid;

		if (served[i].handle != NULL &&
			GetBackgroundWorkerPid(served[i].handle, &pid) == BGWH_STOPPED)
		{
			pfree(served[i].handle);
			served[i].handle = NULL;
			served[i].database = InvalidOid;
		}
		if (served[i].database == database)
			return &served[i];
		if (!OidIsValid(served[i].database) && free_place == NULL)
			free_place = &served[i];
	}
	return free_place;
}

/* One worker at a time; when none can be had, the next round tries again. */
static void
serve_database(Served *served, Oid database)
{
	Served	   *place = find_served(served, database);
	BackgroundWorker worker = {0};

	if (place == NULL || place->handle != NULL)
		return;
	strlcpy(worker.bgw_name, "unleash_tokens flush worker", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "unleash_tokens flush worker", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "unleash_tokens", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "ut_worker_flush_main", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_notify_pid = MyProcPid;	/* sets our latch when it has ended */
	if (RegisterDynamicBackgroundWorker(&worker, &place->handle))
		place->database = database;
	else
	{
		place->handle = NULL;
		ut_usage_report_error("no background worker slot is free: raise max_worker_processes");
	}
}

/* ---- Flush worker ---- */

static void
set_worker_setting(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SET, true, 0, false);
}

/* A batch took so many microseconds: could notes be lost, or wait for longer than an interval? */
static bool
is_behind(int64 took)
{
	double		batches = (double) ut_usage_count_held() / BATCH;

	return ut_usage_is_half_full() || batches * took * (1 + REST) > ut_flush_interval * 1e6;
}

static void
flush_all(void)
{
	TimestampTz begin = GetCurrentTimestamp();
	bool		wraps;
	uint32		cursor = ut_usage_take_resume();

	wraps = cursor > 0;
	for (;;)
	{
		TimestampTz start = GetCurrentTimestamp();
		int64		took;

		if (!flush_batch(&cursor))
		{
			if (!wraps)
				return;
			wraps = false;
			cursor = 0;
			continue;
		}
		took = Max(GetCurrentTimestamp() - start, 1000);
		if (TimestampDifferenceExceeds(begin, GetCurrentTimestamp(), LIFETIME_MS))
		{
			ut_usage_set_resume(cursor);
			return;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 took * (is_behind(took) ? SHORT_REST : REST) / 1000,
						 UT_WAIT_EVENT("UnleashTokensWorkerRest"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

void
ut_worker_flush_main(Datum arg)
{
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	/* ALLOW_CONNECTIONS may have been taken away since the notes were made */
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, BGWORKER_BYPASS_ALLOWCONN);
	set_worker_setting("search_path", "pg_catalog, pg_temp");
	set_worker_setting("lock_timeout", "500ms");
	set_worker_setting("synchronous_commit", "off");
	/* whatever the database's defaults are */
	set_worker_setting("default_transaction_read_only", "off");
	set_worker_setting("default_transaction_isolation", "read committed");
	PG_TRY();
	{
		flush_all();
	}
	PG_CATCH();
	{
		MemoryContext context = MemoryContextSwitchTo(TopMemoryContext);

		ut_usage_report_error(CopyErrorData()->message);
		MemoryContextSwitchTo(context);
		PG_RE_THROW();
	}
	PG_END_TRY();
	proc_exit(0);
}

static int
compare_notes(const void *a, const void *b)
{
	return memcmp(((const UtNote *) a)->selector, ((const UtNote *) b)->selector,
				  sizeof(((UtNote *) NULL)->selector));
}

/*
 * Write or send some notes; false when there were none left.  They are
 * forgotten only when the transaction has ended well.
 */
static bool
flush_batch(uint32 *cursor)
{
	static UtNote notes[BATCH];
	int			count;
	int			done = 0;
	bool		sends = RecoveryInProgress();

	StartTransactionCommand();
	count = ut_usage_collect(MyDatabaseId, cursor, notes, BATCH);
	qsort(notes, count, sizeof(UtNote), compare_notes);
	pgstat_report_activity(STATE_RUNNING, "writing when API tokens were used");
	if (!OidIsValid(get_extension_oid("unleash_tokens", true)))
		ut_usage_drop_database(MyDatabaseId);
	else if (count > 0 && sends)
		done = ut_forward_send(ut_primary_conninfo, notes, count);
	else if (count > 0)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		done = ut_store_write_seen(notes, count);
		PopActiveSnapshot();
	}
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	if (done > 0)
	{
		ut_usage_forget(MyDatabaseId, notes, done, sends);
		ut_usage_report_flush();
	}
	return count > 0;
}
