/*-------------------------------------------------------------------------
 *
 * flush.c
 *	  Which notes wait to be written, and whose turn is it?
 *
 * Each database is on its own: where its next worker begins, and when.  What
 * failed is tried again later and later, whatever else is due; a worker that
 * says nothing (it could not be started, or not connect) has failed.
 *
 * Locking: the spinlock of a bucket for its notes, the one of what the workers
 * report for runs.
 *
 * Knows no table and no process.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "utils/timestamp.h"

#include "usage/flush.h"
#include "usage/memory.h"

#define RETRY_MS 1000			/* after the first failure */
#define LONGEST_RETRY_MS 60000

/* Under the lock: the run of a database, or NULL. */
static UtRun *
find_run(Oid database)
{
	for (int i = 0; i < UT_RUNS; i++)
	{
		if (ut_memory->runs[i].database == database)
			return &ut_memory->runs[i];
	}
	return NULL;
}

static void
forget_run(Oid database)
{
	UtRun	   *run;

	SpinLockAcquire(&ut_memory->mutex);
	run = find_run(database);
	if (run != NULL && !run->running)
		memset(run, 0, sizeof(UtRun));
	SpinLockRelease(&ut_memory->mutex);
}

/* ---- Notes ---- */

uint32
ut_flush_end(void)
{
	return ut_memory->nbuckets;
}

/* A place in a sorted list: that of the database, or where it belongs. */
static int
find_place(const Oid *databases, int count, Oid database)
{
	int			low = 0;

	while (low < count)
	{
		int			middle = low + (count - low) / 2;

		if (databases[middle] < database)
			low = middle + 1;
		else
			count = middle;
	}
	return low;
}

Oid *
ut_flush_list_databases(int *count)
{
	bool		standby = RecoveryInProgress();
	int			room = 64;
	Oid		   *databases = palloc(room * sizeof(Oid));
	Oid			last = InvalidOid;

	*count = 0;
	for (uint64 i = 0; i < ut_memory_capacity(); i++)
	{
		/* unlocked: an Oid is read whole, and a wrong one does no harm */
		UtSlot	   *note = &ut_memory->buckets[i / UT_BUCKET_NOTES].notes[i % UT_BUCKET_NOTES];
		Oid			database = note->database;
		int			place;

		if (!OidIsValid(database) || database == last || (standby && note->sent))
			continue;
		last = database;
		place = find_place(databases, *count, database);
		if (place < *count && databases[place] == database)
			continue;
		if (*count == room)
			databases = repalloc(databases, (room *= 2) * sizeof(Oid));
		memmove(databases + place + 1, databases + place, (*count - place) * sizeof(Oid));
		databases[place] = database;
		(*count)++;
	}
	return databases;
}

int
ut_flush_collect(Oid database, uint32 *cursor, uint32 end, UtNote *notes, int max)
{
	bool		standby = RecoveryInProgress();
	int			count = 0;

	for (; *cursor < end && count + UT_BUCKET_NOTES <= max; (*cursor)++)
	{
		UtBucket   *bucket = &ut_memory->buckets[*cursor];

		SpinLockAcquire(&bucket->mutex);
		for (int i = 0; i < UT_BUCKET_NOTES; i++)
		{
			if (bucket->notes[i].database != database || (standby && bucket->notes[i].sent))
				continue;
			memcpy(notes[count].selector, bucket->notes[i].selector, UT_SELECTOR_LEN);
			notes[count].mark = bucket->notes[i].mark;
			notes[count++].at = bucket->notes[i].at;
		}
		SpinLockRelease(&bucket->mutex);
	}
	return count;
}

void
ut_flush_forget(Oid database, const UtNote *notes, int count, bool sent)
{
	uint64		forgotten = 0;

	for (int i = 0; i < count; i++)
	{
		uint8		tag;
		UtBucket   *bucket = ut_memory_find_bucket(database, notes[i].selector, &tag);
		UtSlot	   *note;

		SpinLockAcquire(&bucket->mutex);
		note = ut_memory_find_note(bucket, tag, database, notes[i].selector);
		if (note != NULL && note->at <= notes[i].at && ut_memory_is_same_mark(&note->mark, &notes[i].mark))
		{
			if (!note->sent)
				forgotten++;
			if (sent)
				note->sent = true;
			else
				ut_memory_free_note(bucket, note);
		}
		SpinLockRelease(&bucket->mutex);
	}
	pg_atomic_fetch_sub_u64(&ut_memory->held, forgotten);
}

uint64
ut_flush_drop_database(Oid database)
{
	uint64		dropped = 0;

	for (uint32 i = 0; i < ut_memory->nbuckets; i++)
	{
		UtBucket   *bucket = &ut_memory->buckets[i];

		SpinLockAcquire(&bucket->mutex);
		for (int j = 0; j < UT_BUCKET_NOTES; j++)
		{
			if (bucket->notes[j].database != database)
				continue;
			if (!bucket->notes[j].sent)
				dropped++;
			ut_memory_free_note(bucket, &bucket->notes[j]);
		}
		SpinLockRelease(&bucket->mutex);
	}
	pg_atomic_fetch_sub_u64(&ut_memory->held, dropped);
	pg_atomic_fetch_add_u64(&ut_memory->dropped, dropped);
	forget_run(database);
	return dropped;
}

/* ---- Runs ---- */

/* Under the lock: a free place, or that of the run that waits the longest. */
static UtRun *
choose_run(void)
{
	UtRun	   *chosen = find_run(InvalidOid);

	for (int i = 0; chosen == NULL && i < UT_RUNS; i++)
	{
		if (!ut_memory->runs[i].running)
			chosen = &ut_memory->runs[i];
	}
	for (int i = 0; chosen != NULL && OidIsValid(chosen->database) && i < UT_RUNS; i++)
	{
		if (!ut_memory->runs[i].running && ut_memory->runs[i].due > chosen->due)
			chosen = &ut_memory->runs[i];
	}
	if (chosen != NULL)
		memset(chosen, 0, sizeof(UtRun));
	return chosen;
}

int
ut_flush_open_run(Oid database)
{
	TimestampTz now = GetCurrentTimestamp();
	int			place = UT_RUN_NO_PLACE;
	UtRun	   *run;

	SpinLockAcquire(&ut_memory->mutex);
	run = find_run(database);
	if (run != NULL && (run->running || run->due > now))
		place = UT_RUN_NOT_DUE;
	else if (run != NULL || (run = choose_run()) != NULL)
	{
		run->database = database;
		run->running = true;
		run->reported = false;
		place = run - ut_memory->runs;
	}
	SpinLockRelease(&ut_memory->mutex);
	return place;
}

/* Under the lock. */
static void
note_failure(UtRun *run, TimestampTz now)
{
	int64		wait = (int64) RETRY_MS << Min(run->failures, 16);

	run->failures++;
	run->due = TimestampTzPlusMilliseconds(now, Min(wait, LONGEST_RETRY_MS));
}

bool
ut_flush_close_run(int place)
{
	TimestampTz now = GetCurrentTimestamp();
	UtRun	   *run = &ut_memory->runs[place];
	bool		reported;

	SpinLockAcquire(&ut_memory->mutex);
	reported = run->reported;
	run->running = false;
	if (!reported)
		note_failure(run, now);
	if (run->due == 0)
		run->database = InvalidOid;
	SpinLockRelease(&ut_memory->mutex);
	return reported;
}

void
ut_flush_cancel_run(int place)
{
	UtRun	   *run = &ut_memory->runs[place];

	SpinLockAcquire(&ut_memory->mutex);
	run->running = false;
	if (run->due == 0)
		run->database = InvalidOid;
	SpinLockRelease(&ut_memory->mutex);
}

int
ut_flush_list_due(Oid *databases)
{
	TimestampTz now = GetCurrentTimestamp();
	int			count = 0;

	SpinLockAcquire(&ut_memory->mutex);
	for (int i = 0; i < UT_RUNS; i++)
	{
		UtRun	   *run = &ut_memory->runs[i];

		if (OidIsValid(run->database) && !run->running && run->due <= now)
			databases[count++] = run->database;
	}
	SpinLockRelease(&ut_memory->mutex);
	return count;
}

TimestampTz
ut_flush_next_due(void)
{
	TimestampTz next = DT_NOEND;

	SpinLockAcquire(&ut_memory->mutex);
	for (int i = 0; i < UT_RUNS; i++)
	{
		UtRun	   *run = &ut_memory->runs[i];

		if (OidIsValid(run->database) && !run->running)
			next = Min(next, run->due);
	}
	SpinLockRelease(&ut_memory->mutex);
	return next;
}

void
ut_flush_count_runs(int *running, int *failing)
{
	*running = *failing = 0;
	SpinLockAcquire(&ut_memory->mutex);
	for (int i = 0; i < UT_RUNS; i++)
	{
		UtRun	   *run = &ut_memory->runs[i];

		*running += OidIsValid(run->database) && run->running;
		*failing += OidIsValid(run->database) && run->failures > 0;
	}
	SpinLockRelease(&ut_memory->mutex);
}

void
ut_flush_forgive(void)
{
	SpinLockAcquire(&ut_memory->mutex);
	for (int i = 0; i < UT_RUNS; i++)
	{
		UtRun	   *run = &ut_memory->runs[i];

		run->failures = 0;
		run->due = Min(run->due, 1);	/* any time that has passed */
	}
	SpinLockRelease(&ut_memory->mutex);
}

void
ut_flush_abandon_runs(void)
{
	SpinLockAcquire(&ut_memory->mutex);
	for (int i = 0; i < UT_RUNS; i++)
		ut_memory->runs[i].running = false;
	SpinLockRelease(&ut_memory->mutex);
}

uint32
ut_flush_begin(Oid database)
{
	UtRun	   *run;
	uint32		resume = 0;

	SpinLockAcquire(&ut_memory->mutex);
	run = find_run(database);
	if (run != NULL)
		resume = run->resume;
	SpinLockRelease(&ut_memory->mutex);
	return resume;
}

void
ut_flush_report_end(Oid database, UtOutcome outcome, uint32 cursor, int rest)
{
	TimestampTz now = GetCurrentTimestamp();
	UtRun	   *run;

	SpinLockAcquire(&ut_memory->mutex);
	run = find_run(database);
	if (run != NULL)
	{
		run->reported = true;
		run->resume = outcome == UT_RUN_DONE || cursor >= ut_memory->nbuckets ? 0 : cursor;
		if (outcome == UT_RUN_FAILED)
			note_failure(run, now);
		else
		{
			run->failures = 0;
			run->due = outcome == UT_RUN_DONE ? 0 : TimestampTzPlusMilliseconds(now, rest);
		}
	}
	SpinLockRelease(&ut_memory->mutex);
}
