/*-------------------------------------------------------------------------
 *
 * memory.c
 *	  What lies in shared memory, and how is a note found in it?
 *
 * Notes lie in buckets of 64.  A full bucket drops its oldest note.  One that a
 * standby has sent is not forgotten but marked: until the primary has written
 * it and that is replayed, nothing else knows of the use.  Its place is taken
 * when another needs it.
 *
 * Locking: one spinlock for each bucket, held while its notes are looked
 * at and for nothing else; counters are atomic; what the workers report has a
 * spinlock of its own.  Nothing here waits, allocates or raises under a lock.
 *
 * Knows no table, no process and nothing of HTTP.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "port/pg_bitutils.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "usage/memory.h"

int			ut_usage_slots = 262144;
UtShared   *ut_memory = NULL;

static uint32
bucket_count(void)
{
	return pg_nextpower2_32(Max(ut_usage_slots / UT_BUCKET_NOTES, 1));
}

Size
ut_memory_size(void)
{
	return add_size(offsetof(UtShared, buckets), mul_size(bucket_count(), sizeof(UtBucket)));
}

void
ut_memory_clear(void)
{
	memset(ut_memory, 0, ut_memory_size());
	for (int i = 0; i < UT_VERDICTS; i++)
		pg_atomic_init_u64(&ut_memory->verdicts[i], 0);
	pg_atomic_init_u64(&ut_memory->held, 0);
	pg_atomic_init_u64(&ut_memory->dropped, 0);
	pg_atomic_init_u64(&ut_memory->flushes, 0);
	SpinLockInit(&ut_memory->mutex);
	ut_memory->last_flush = UT_TIME_UNSET;
	ut_memory->last_error_at = UT_TIME_UNSET;
	ut_memory->reset_at = GetCurrentTimestamp();
	ut_memory->nbuckets = bucket_count();
	for (uint32 i = 0; i < ut_memory->nbuckets; i++)
		SpinLockInit(&ut_memory->buckets[i].mutex);
}

uint64
ut_memory_capacity(void)
{
	return (uint64) ut_memory->nbuckets * UT_BUCKET_NOTES;
}

uint64
ut_memory_held(void)
{
	return pg_atomic_read_u64(&ut_memory->held);
}

bool
ut_memory_is_half_full(void)
{
	return ut_memory_held() > ut_memory_capacity() / 2;
}

/* ---- Notes ---- */

UtBucket *
ut_memory_find_bucket(Oid database, const char *selector, uint8 *tag)
{
	uint32		hash = hash_combine(hash_bytes((const unsigned char *) selector, UT_SELECTOR_LEN),
									database);

	*tag = 1 + (hash >> 24) % UINT8_MAX;
	return &ut_memory->buckets[hash & (ut_memory->nbuckets - 1)];
}

UtSlot *
ut_memory_find_note(UtBucket *bucket, uint8 tag, Oid database, const char *selector)
{
	uint8	   *end = bucket->tags + UT_BUCKET_NOTES;

	for (uint8 *at = bucket->tags; (at = memchr(at, tag, end - at)) != NULL; at++)
	{
		UtSlot	   *note = &bucket->notes[at - bucket->tags];

		if (note->database == database && memcmp(note->selector, selector, UT_SELECTOR_LEN) == 0)
			return note;
	}
	return NULL;
}

void
ut_memory_free_note(UtBucket *bucket, UtSlot *note)
{
	bucket->tags[note - bucket->notes] = 0;
	note->database = InvalidOid;
	note->sent = false;
}

/*
 * Under the bucket's lock: a free place, or the one of the oldest note, where a
 * sent one goes first: it is only a memory, while another is a use.
 */
static UtSlot *
choose_place(UtBucket *bucket)
{
	uint8	   *free_tag = memchr(bucket->tags, 0, UT_BUCKET_NOTES);
	UtSlot	   *chosen = &bucket->notes[0];

	if (free_tag != NULL)
		return &bucket->notes[free_tag - bucket->tags];
	for (int i = 1; i < UT_BUCKET_NOTES; i++)
	{
		UtSlot	   *note = &bucket->notes[i];

		if (note->sent > chosen->sent || (note->sent == chosen->sent && note->at < chosen->at))
			chosen = note;
	}
	return chosen;
}

/* Set a note; true when one that was still to be written made place for it. */
static bool
set_note(UtBucket *bucket, uint8 tag, Oid database, const char *selector, TimestampTz at, uint64 *held)
{
	UtSlot	   *note = ut_memory_find_note(bucket, tag, database, selector);
	bool		is_new = note == NULL;
	bool		was_counted;

	if (is_new)
		note = choose_place(bucket);
	else if (note->at >= at)
		return false;
	was_counted = OidIsValid(note->database) && !note->sent;
	bucket->tags[note - bucket->notes] = tag;
	note->database = database;
	memcpy(note->selector, selector, UT_SELECTOR_LEN);
	note->sent = false;
	note->at = at;
	if (!was_counted)
		*held = pg_atomic_add_fetch_u64(&ut_memory->held, 1);
	return is_new && was_counted;
}

void
ut_memory_put(Oid database, const char *selector, TimestampTz at)
{
	uint8		tag;
	UtBucket   *bucket = ut_memory_find_bucket(database, selector, &tag);
	uint64		held = 0;
	bool		drops;

	SpinLockAcquire(&bucket->mutex);
	drops = set_note(bucket, tag, database, selector, at, &held);
	SpinLockRelease(&bucket->mutex);
	if (drops)
		pg_atomic_fetch_add_u64(&ut_memory->dropped, 1);
	if (held == ut_memory_capacity() / 2 + 1)
		ut_memory_wake_launcher();
}

/* ---- Launcher ---- */

void
ut_memory_set_launcher(Latch *latch)
{
	SpinLockAcquire(&ut_memory->mutex);
	ut_memory->launcher = latch;
	SpinLockRelease(&ut_memory->mutex);
}

/* A latch of a process that has just ended is still memory of ours to set. */
void
ut_memory_wake_launcher(void)
{
	Latch	   *latch;

	SpinLockAcquire(&ut_memory->mutex);
	latch = ut_memory->launcher;
	SpinLockRelease(&ut_memory->mutex);
	if (latch != NULL)
		SetLatch(latch);
}
