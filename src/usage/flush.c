/*-------------------------------------------------------------------------
 *
 * flush.c
 *	  Which notes wait to be written, and what is known of the writing?
 *
 * What the launcher, the workers and the view stat need of shared memory.
 *
 * Locking: see usage.c.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "utils/timestamp.h"

#include "usage/memory.h"

/* ---- Launcher ---- */

void
ut_usage_set_launcher(Latch *latch)
{
	SpinLockAcquire(&ut_usage_shared->mutex);
	ut_usage_shared->launcher = latch;
	SpinLockRelease(&ut_usage_shared->mutex);
}

/* A latch of a process that has just ended is still memory of ours to set. */
void
ut_usage_wake_launcher(void)
{
	Latch	   *latch;

	SpinLockAcquire(&ut_usage_shared->mutex);
	latch = ut_usage_shared->launcher;
	SpinLockRelease(&ut_usage_shared->mutex);
	if (latch != NULL)
		SetLatch(latch);
}

uint64
ut_usage_count_held(void)
{
	return pg_atomic_read_u64(&ut_usage_shared->held);
}

bool
ut_usage_is_half_full(void)
{
	return ut_usage_count_held() > ut_usage_capacity() / 2;
}

int
ut_usage_databases(Oid *databases, int max)
{
	bool		standby = RecoveryInProgress();
	int			count = 0;

	for (uint32 i = 0; i < ut_usage_shared->nbuckets; i++)
	{
		for (int j = 0; j < UT_BUCKET_NOTES; j++)
		{
			/* unlocked: an Oid is read whole, and a wrong one does no harm */
			UtSlot	   *note = &ut_usage_shared->buckets[i].notes[j];
			Oid			database = note->database;
			int			k = 0;

			if (standby && note->sent)
				continue;
			while (k < count && databases[k] != database)
				k++;
			if (OidIsValid(database) && k == count && count < max)
				databases[count++] = database;
		}
	}
	return count;
}

/* ---- Worker ---- */

int
ut_usage_collect(Oid database, uint32 *cursor, UtNote *notes, int max)
{
	bool		standby = RecoveryInProgress();
	int			count = 0;

	for (; *cursor < ut_usage_shared->nbuckets && count + UT_BUCKET_NOTES <= max; (*cursor)++)
	{
		UtBucket   *bucket = &ut_usage_shared->buckets[*cursor];

		SpinLockAcquire(&bucket->mutex);
		for (int i = 0; i < UT_BUCKET_NOTES; i++)
		{
			if (bucket->notes[i].database != database || (standby && bucket->notes[i].sent))
				continue;
			memcpy(notes[count].selector, bucket->notes[i].selector, UT_SELECTOR_LEN);
			notes[count++].at = bucket->notes[i].at;
		}
		SpinLockRelease(&bucket->mutex);
	}
	return count;
}

void
ut_usage_forget(Oid database, const UtNote *notes, int count, bool sent)
{
	uint64		forgotten = 0;

	for (int i = 0; i < count; i++)
	{
		uint8		tag;
		UtBucket   *bucket = ut_usage_find_bucket(database, notes[i].selector, &tag);
		UtSlot	   *note;

		SpinLockAcquire(&bucket->mutex);
		note = ut_usage_find_note(bucket, tag, database, notes[i].selector);
		if (note != NULL && note->at <= notes[i].at)
		{
			if (!note->sent)
				forgotten++;
			if (sent)
				note->sent = true;
			else
				ut_usage_free_note(bucket, note);
		}
		SpinLockRelease(&bucket->mutex);
	}
	pg_atomic_fetch_sub_u64(&ut_usage_shared->held, forgotten);
}

void
ut_usage_drop_database(Oid database)
{
	uint64		dropped = 0;

	for (uint32 i = 0; i < ut_usage_shared->nbuckets; i++)
	{
		UtBucket   *bucket = &ut_usage_shared->buckets[i];

		SpinLockAcquire(&bucket->mutex);
		for (int j = 0; j < UT_BUCKET_NOTES; j++)
		{
			if (bucket->notes[j].database != database)
				continue;
			if (!bucket->notes[j].sent)
				dropped++;
			ut_usage_free_note(bucket, &bucket->notes[j]);
		}
		SpinLockRelease(&bucket->mutex);
	}
	pg_atomic_fetch_sub_u64(&ut_usage_shared->held, dropped);
	pg_atomic_fetch_add_u64(&ut_usage_shared->dropped, dropped);
}

void
ut_usage_set_resume(uint32 cursor)
{
	pg_atomic_write_u32(&ut_usage_shared->resume, cursor + 1);
	ut_usage_wake_launcher();
}

uint32
ut_usage_take_resume(void)
{
	uint32		resume = pg_atomic_exchange_u32(&ut_usage_shared->resume, 0);

	return resume == 0 ? 0 : resume - 1;
}

bool
ut_usage_must_resume(void)
{
	return pg_atomic_read_u32(&ut_usage_shared->resume) != 0;
}

void
ut_usage_report_flush(void)
{
	pg_atomic_fetch_add_u64(&ut_usage_shared->flushes, 1);
	SpinLockAcquire(&ut_usage_shared->mutex);
	ut_usage_shared->last_flush = GetCurrentTimestamp();
	SpinLockRelease(&ut_usage_shared->mutex);
}

void
ut_usage_report_error(const char *message)
{
	char		cut[sizeof(ut_usage_shared->last_error)];
	TimestampTz now = GetCurrentTimestamp();

	strlcpy(cut, message, sizeof(cut));
	SpinLockAcquire(&ut_usage_shared->mutex);
	memcpy(ut_usage_shared->last_error, cut, sizeof(cut));
	ut_usage_shared->last_error_at = now;
	SpinLockRelease(&ut_usage_shared->mutex);
}

/* ---- Statistics ---- */

bool
ut_usage_stat(UtUsageStat *stat)
{
	if (ut_usage_shared == NULL)
		return false;
	for (int i = 0; i < UT_VERDICTS; i++)
		stat->verdicts[i] = pg_atomic_read_u64(&ut_usage_shared->verdicts[i]);
	stat->held = ut_usage_count_held();
	stat->dropped = pg_atomic_read_u64(&ut_usage_shared->dropped);
	stat->flushes = pg_atomic_read_u64(&ut_usage_shared->flushes);
	SpinLockAcquire(&ut_usage_shared->mutex);
	stat->last_flush = ut_usage_shared->last_flush;
	stat->reset_at = ut_usage_shared->reset_at;
	stat->last_error_at = ut_usage_shared->last_error_at;
	memcpy(stat->last_error, ut_usage_shared->last_error, sizeof(stat->last_error));
	SpinLockRelease(&ut_usage_shared->mutex);
	return true;
}

void
ut_usage_reset(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (ut_usage_shared == NULL)
		return;
	for (int i = 0; i < UT_VERDICTS; i++)
		pg_atomic_write_u64(&ut_usage_shared->verdicts[i], 0);
	pg_atomic_write_u64(&ut_usage_shared->dropped, 0);
	pg_atomic_write_u64(&ut_usage_shared->flushes, 0);
	SpinLockAcquire(&ut_usage_shared->mutex);
	ut_usage_shared->last_flush = UT_TIME_UNSET;
	ut_usage_shared->last_error_at = UT_TIME_UNSET;
	ut_usage_shared->last_error[0] = '\0';
	ut_usage_shared->reset_at = now;
	SpinLockRelease(&ut_usage_shared->mutex);
}
