/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  Which database gets a worker, and when?
 *
 * One process for the server.  It knows no database: it sees in the notes which
 * ones have some, and in the catalog which ones there are, and keeps no connection, so that DROP DATABASE need not wait
 * for it.  Databases take turns in the order of their OIDs, so that none is
 * left out when there are more of them than free worker slots.
 *
 * Locking: none of its own.
 *
 * Knows no table, and not how notes are written.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "usage/census.h"
#include "usage/flush.h"
#include "usage/forward.h"
#include "usage/launcher.h"
#include "usage/look.h"
#include "usage/memory.h"
#include "usage/stat.h"

#define PROMOTION_MS 60000		/* a standby sees after it that it is none any
								 * more */

int			ut_flush_interval = 60;

/* The workers that were asked for, by the places of their runs; NULL: none. */
static BackgroundWorkerHandle *handles[UT_RUNS];

/* The database that had its turn last. */
static Oid	last_served = InvalidOid;

/* One did not get a worker because no slot was free. */
static bool waits_for_slot = false;

/*
 * The first use of a new secret is to be written at once.  Stays set when a
 * database has a worker already, which may be past that note.
 */
static bool urgent = false;

void
ut_launcher_register(void)
{
	BackgroundWorker worker = {0};

	strlcpy(worker.bgw_name, "unleash_tokens launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "unleash_tokens launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "unleash_tokens", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "ut_launcher_main", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = 1;
	RegisterBackgroundWorker(&worker);
}

/* ---- Databases ---- */

typedef enum Fate
{
	FATE_LIVES,
	FATE_INVALID,				/* a DROP DATABASE was interrupted; only
								 * another one is possible */
	FATE_GONE
} Fate;

/* In a transaction.  The name is in an encoding that nobody knows. */
static Fate
find_fate(Oid database, char *name)
{
	HeapTuple	row = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	Fate		fate = FATE_GONE;

	if (HeapTupleIsValid(row))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(row);

		fate = form->datconnlimit == UT_DATABASE_INVALID ? FATE_INVALID : FATE_LIVES;
		strlcpy(name, NameStr(form->datname), NAMEDATALEN);
		ReleaseSysCache(row);
	}
	return fate;
}

/* Notes of a database that nobody can connect to any more would be in the way for ever. */
static bool
is_alive(Oid database)
{
	char		name[NAMEDATALEN];
	Fate		fate = find_fate(database, name);
	uint64		dropped;

	if (fate == FATE_LIVES)
		return true;
	dropped = ut_flush_drop_database(database);
	if (fate == FATE_INVALID && dropped > 0)
		ut_stat_report_error(psprintf("database \"%s\" is invalid, its " UINT64_FORMAT " notes were dropped: drop the database",
									  name, dropped));
	return false;
}

/* ---- Workers ---- */

static void
report_silent_end(Oid database)
{
	char		name[NAMEDATALEN];

	StartTransactionCommand();
	if (find_fate(database, name) == FATE_LIVES)
		ut_stat_report_error(psprintf("the flush worker of database \"%s\" could not be started, or ended early: see the server's log",
									  name));
	CommitTransactionCommand();
}

/* Look which workers have ended; true when one has. */
static bool
close_ended_runs(void)
{
	bool		ended = false;

	for (int i = 0; i < UT_RUNS; i++)
	{
		pid_t		pid;
		Oid			database = ut_memory->runs[i].database;

		if (handles[i] == NULL || GetBackgroundWorkerPid(handles[i], &pid) != BGWH_STOPPED)
			continue;
		pfree(handles[i]);
		handles[i] = NULL;
		ended = true;
		if (!ut_flush_close_run(i))
			report_silent_end(database);
	}
	return ended;
}

static bool
start_worker(Oid database, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker = {0};
	MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);
	bool		started;

	strlcpy(worker.bgw_name, "unleash_tokens flush worker", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "unleash_tokens flush worker", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "unleash_tokens", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "ut_worker_main", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_notify_pid = MyProcPid;	/* sets our latch when it has ended */
	started = RegisterDynamicBackgroundWorker(&worker, handle);
	MemoryContextSwitchTo(before);
	return started;
}

/* Give a database a worker when it is due; false when there is none to be had. */
static bool
serve_database(Oid database, bool was_urgent)
{
	int			place;

	if (!is_alive(database))
	{
		ut_look_done(database);
		ut_census_forget(database);
		return true;
	}
	place = ut_flush_open_run(database);
	if (place == UT_RUN_NOT_DUE)
	{
		urgent |= was_urgent;
		return true;
	}
	if (place == UT_RUN_NO_PLACE)
		return false;
	if (!start_worker(database, &handles[place]))
	{
		handles[place] = NULL;
		ut_flush_cancel_run(place);
		ut_stat_report_error("no background worker slot is free: raise max_worker_processes");
		return false;
	}
	last_served = database;
	ut_look_done(database);
	return true;
}

/*
 * All databases that have notes, or those that were left over, unless these have
 * nowhere to go; and those that are to be looked at, or where something is to be
 * counted.  Sorted.
 */
static Oid *
list_databases(bool all, int *count)
{
	Oid			wanted[UT_RUNS];
	int			nwanted = ut_census_list(wanted);
	Oid		   *databases = palloc(2 * UT_RUNS * sizeof(Oid));

	*count = 0;
	if (all && !ut_forward_has_nowhere())
	{
		databases = ut_flush_list_databases(count);
		databases = repalloc(databases, (*count + UT_RUNS) * sizeof(Oid));
	}
	else if (!ut_forward_has_nowhere())
		*count = ut_flush_list_due(databases);
	memcpy(databases + *count, wanted, nwanted * sizeof(Oid));
	*count += nwanted;
	ut_look_begin();
	return ut_look_add(databases, count);
}

/*
 * In the order of their OIDs, beginning behind the one that was served last.
 * False when one was left without a worker.
 */
static bool
serve_round(bool all)
{
	Oid		   *databases;
	bool		served = true;
	int			count;
	int			first = 0;
	bool		was_urgent = urgent;

	urgent = false;
	StartTransactionCommand();
	databases = list_databases(all, &count);
	while (first < count && databases[first] <= last_served)
		first++;
	for (int i = 0; i < count && served; i++)
		served = serve_database(databases[(first + i) % count], was_urgent);
	CommitTransactionCommand();
	return served;
}

static void
serve(bool all)
{
	waits_for_slot = !serve_round(all);
	ut_stat_report_wait(waits_for_slot);
}

/* ---- The process ---- */

static void
leave(int code, Datum arg)
{
	ut_memory_set_launcher(NULL);
}

static void
begin(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	/* no database, but the shared catalogs: they tell which ones are gone */
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	before_shmem_exit(leave, (Datum) 0);
	ut_flush_abandon_runs();
	ut_stat_report_wait(false);
	ut_memory_set_launcher(MyLatch);
}

/* Until something may be due; what waits for a slot hears of one that gets free. */
static long
time_to_wait(TimestampTz next_round)
{
	TimestampTz next = next_round;

	if (!waits_for_slot && !ut_forward_has_nowhere())
		next = Min(next, ut_flush_next_due());
	if (!waits_for_slot)
		next = Min(next, ut_census_next_due());
	next = Min(next, ut_look_next());
	if (RecoveryInProgress())
		next = Min(next, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PROMOTION_MS));
	return Max(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next), 10);
}

static void
reload(void)
{
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	ut_flush_forgive();			/* what failed may have been mended */
	ut_look_soon();
}

void
ut_launcher_main(Datum arg)
{
	TimestampTz last = GetCurrentTimestamp();

	begin();
	while (!ShutdownRequestPending)
	{
		TimestampTz next = TimestampTzPlusMilliseconds(last, ut_flush_interval * INT64CONST(1000));
		TimestampTz now = GetCurrentTimestamp();
		bool		ended = close_ended_runs();
		bool		calls = ut_memory_take_urgent();

		urgent |= calls;
		if (now >= next || now >= ut_look_next() || ut_memory_is_half_full() || calls || ((waits_for_slot || urgent) && ended))
		{
			serve(true);
			last = now;
			next = TimestampTzPlusMilliseconds(last, ut_flush_interval * INT64CONST(1000));
		}
		else if ((ut_flush_next_due() <= now || ut_census_next_due() <= now) && !waits_for_slot)
			serve(false);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 time_to_wait(next), UT_WAIT_EVENT("UnleashTokensLauncher"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
			reload();
	}
	/* not 0, after which the server would never start it again */
	proc_exit(1);
}
