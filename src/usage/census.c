/*-------------------------------------------------------------------------
 *
 * census.c
 *	  What was counted in a database, when, and is it time to count anew?
 *
 * The tokens are counted page by page, over several workers' lives where they
 * are many: the sums so far are in shared memory.
 *
 * Locking: the spinlock of what the workers report.  Only a database's worker
 * counts, and there is one of them at a time.
 *
 * Knows no table, and not how numbers are shown.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "usage/census.h"
#include "usage/memory.h"

#define TOKENS_AGE_MS 10000		/* no count of tokens is younger than that */
#define CHECKS_AGE_MS 60000
#define TOKENS_SHARE 150		/* times what it took: with CHECKS_SHARE a
								 * hundredth of the time */
#define CHECKS_SHARE 300
#define GIVE_UP_MS 60000		/* after an error */
#define PAUSE 9					/* after a part, times what it took */

/* Under the lock: what is known of a database, or NULL. */
static UtCensus *
find(Oid database)
{
	for (int i = 0; i < UT_RUNS; i++)
	{
		if (ut_memory->censuses[i].database == database)
			return &ut_memory->censuses[i];
	}
	return NULL;
}

/* Under the lock: the same, in the place of whoever asked the longest ago. */
static UtCensus *
find_or_make(Oid database)
{
	UtCensus   *census = find(database);

	if (census != NULL)
		return census;
	census = &ut_memory->censuses[0];
	for (int i = 1; i < UT_RUNS; i++)
	{
		if (ut_memory->censuses[i].asked_at < census->asked_at)
			census = &ut_memory->censuses[i];
	}
	memset(census, 0, sizeof(UtCensus));
	census->database = database;
	return census;
}

void
ut_census_ask(UtCensus *known)
{
	TimestampTz now = GetCurrentTimestamp();
	UtCensus   *census;

	SpinLockAcquire(&ut_memory->mutex);
	census = find_or_make(MyDatabaseId);
	census->asked_at = now;
	census->wanted |= census->tokens_counted.due <= now || census->checks_counted.due <= now;
	*known = *census;
	SpinLockRelease(&ut_memory->mutex);
	if (known->wanted)
		ut_memory_wake_launcher();
}

/* ---- Launcher ---- */

/* Under the lock: does the database have a worker, or have to wait for one? */
static bool
has_run(Oid database, TimestampTz now)
{
	for (int i = 0; i < UT_RUNS; i++)
	{
		UtRun	   *run = &ut_memory->runs[i];

		if (run->database == database && (run->running || run->due > now))
			return true;
	}
	return false;
}

/* Under the lock: when a worker is to be had for it. */
static TimestampTz
find_due(const UtCensus *census, TimestampTz now)
{
	return census->wanted && !has_run(census->database, now) ? census->rest_until : DT_NOEND;
}

int
ut_census_list(Oid *databases)
{
	TimestampTz now = GetCurrentTimestamp();
	int			count = 0;

	SpinLockAcquire(&ut_memory->mutex);
	for (int i = 0; i < UT_RUNS; i++)
	{
		if (find_due(&ut_memory->censuses[i], now) <= now)
			databases[count++] = ut_memory->censuses[i].database;
	}
	SpinLockRelease(&ut_memory->mutex);
	return count;
}

TimestampTz
ut_census_next_due(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = DT_NOEND;

	SpinLockAcquire(&ut_memory->mutex);
	for (int i = 0; i < UT_RUNS; i++)
		next = Min(next, find_due(&ut_memory->censuses[i], now));
	SpinLockRelease(&ut_memory->mutex);
	return next;
}

void
ut_census_forget(Oid database)
{
	UtCensus   *census;

	SpinLockAcquire(&ut_memory->mutex);
	census = find(database);
	if (census != NULL)
		memset(census, 0, sizeof(UtCensus));
	SpinLockRelease(&ut_memory->mutex);
}

/* ---- Worker ---- */

/* What was tried last began then. */
static TimestampTz part_began = 0;

static bool
read_census(UtCensus *copy)
{
	UtCensus   *census;

	SpinLockAcquire(&ut_memory->mutex);
	census = find(MyDatabaseId);
	if (census != NULL)
		*copy = *census;
	SpinLockRelease(&ut_memory->mutex);
	return census != NULL;
}

/* What the worker has of its own goes back; who asked meanwhile is kept. */
static void
write_census(const UtCensus *copy)
{
	UtCensus   *census;

	SpinLockAcquire(&ut_memory->mutex);
	census = find(MyDatabaseId);
	if (census != NULL)
	{
		TimestampTz asked_at = census->asked_at;

		*census = *copy;
		census->asked_at = asked_at;
	}
	SpinLockRelease(&ut_memory->mutex);
}

static void
set_counted(UtCounted *counted, const UtCounted *going, int age, int share)
{
	counted->at = going->at;
	counted->took = going->took;
	counted->due = Max(TimestampTzPlusMilliseconds(going->at, age), GetCurrentTimestamp() + going->took * share);
}

/* Some pages; the last of them make the sums what is known. */
static void
count_tokens(UtCensus *census)
{
	if (census->page == 0)
	{
		memset(&census->token_sums, 0, sizeof(UtTokenCounts));
		census->going.at = part_began;
		census->going.took = 0;
	}
	if (ut_store_count_tokens(&census->page, &census->token_sums))
		return;
	census->page = 0;
	census->tokens = census->token_sums;
	census->going.took += GetCurrentTimestamp() - part_began;
	set_counted(&census->tokens_counted, &census->going, TOKENS_AGE_MS, TOKENS_SHARE);
}

static void
begin_checks(UtCensus *census)
{
	if (census->check > 0)
		return;
	memset(&census->check_sums, 0, sizeof(UtCheckCounts));
	census->going.at = part_began;
	census->going.took = 0;
}

/* One of them; when there is none left, the same. */
static void
count_checks(UtCensus *census)
{
	begin_checks(census);
	if (ut_store_count_check(&census->check, &census->check_sums))
		return;
	census->check = 0;
	census->checks = census->check_sums;
	set_counted(&census->checks_counted, &census->going, CHECKS_AGE_MS, CHECKS_SHARE);
}

/* A part has taken its time: rest, and what more is there? */
static void
end_part(UtCensus *census)
{
	TimestampTz now = GetCurrentTimestamp();

	census->going.took += now - part_began;
	census->rest_until = now + PAUSE * (now - part_began);
	census->wanted = census->tokens_counted.due <= now || census->checks_counted.due <= now;
}

bool
ut_census_count(void)
{
	UtCensus	census;

	part_began = GetCurrentTimestamp();
	if (!read_census(&census) || !census.wanted || census.rest_until > part_began)
		return false;
	if (census.page > 0 || (census.check == 0 && census.tokens_counted.due <= part_began))
		count_tokens(&census);
	else
		count_checks(&census);
	end_part(&census);
	write_census(&census);
	return census.wanted;
}

void
ut_census_give_up(void)
{
	UtCensus	census;

	if (!read_census(&census))
		return;
	if (census.page > 0 || (census.check == 0 && census.tokens_counted.due <= part_began))
	{
		census.tokens_counted.due = TimestampTzPlusMilliseconds(part_began, GIVE_UP_MS);
		census.page = 0;
	}
	else
	{
		begin_checks(&census);
		census.check++;
		census.check_sums.checks[UT_CHECK_UNKNOWN]++;
	}
	end_part(&census);
	write_census(&census);
}

void
ut_census_report_written(TimestampTz before)
{
	UtCensus   *census;

	SpinLockAcquire(&ut_memory->mutex);
	census = find(MyDatabaseId);
	if (census != NULL)
		census->written = before;
	SpinLockRelease(&ut_memory->mutex);
}
