/*-------------------------------------------------------------------------
 *
 * memory.c
 *	  What lies in shared memory, and how is a note found in it?
 *
 * Notes lie in buckets of 64.  A full bucket drops its oldest note.  One that a
 * standby has sent is not forgotten but marked: until the primary has written
 * it and that is replayed, nothing else knows of the use.  Its place is taken
 * when another needs it.  The first use of a new secret is no mere memory: such
 * a note is the last to make place.
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
	pg_atomic_init_u64(&ut_memory->held_since, 0);
	pg_atomic_init_u64(&ut_memory->dropped, 0);
	pg_atomic_init_u64(&ut_memory->flushes, 0);
	pg_atomic_init_u32(&ut_memory->urgent, 0);
	SpinLockInit(&ut_memory->mutex);
	ut_memory->last_flush = UT_TIME_UNSET;
	ut_memory->last_error_at = UT_TIME_UNSET;
	ut_memory->waits_since = UT_TIME_UNSET;
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
	note->mark.is_set = false;
}

/* What a note is worth: a sent one is only a memory, a marked one is waited for. */
static int
rank(const UtSlot *note)
{
	return note->mark.is_set ? 2 : note->sent ? 0 : 1;
}

/* Under the bucket's lock: a free place, or the one of the oldest note of those that are worth least. */
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

		if (rank(note) < rank(chosen) || (rank(note) == rank(chosen) && note->at < chosen->at))
			chosen = note;
	}
	return chosen;
}

bool
ut_memory_is_same_mark(const UtMark *a, const UtMark *b)
{
	return a->is_set == b->is_set && (!a->is_set || memcmp(a->bytes, b->bytes, UT_MARK_LEN) == 0);
}

/* A note in a place of its own; what it made place for goes. */
static UtSlot *
begin_note(UtBucket *bucket, uint8 tag, Oid database, const char *selector, bool *drops)
{
	UtSlot	   *note = choose_place(bucket);

	*drops = OidIsValid(note->database) && !note->sent;
	bucket->tags[note - bucket->notes] = tag;
	note->database = database;
	memcpy(note->selector, selector, UT_SELECTOR_LEN);
	note->mark.is_set = false;
	note->at = PG_INT64_MIN;
	return note;
}

/*
 * Set a note; *drops when one that was still to be written made place for it,
 * *marks when it brings a mark.
 */
static void
set_note(UtBucket *bucket, uint8 tag, Oid database, const char *selector, TimestampTz at,
		 const UtMark *mark, uint64 *held, bool *drops, bool *marks)
{
	UtSlot	   *note = ut_memory_find_note(bucket, tag, database, selector);
	bool		was_counted = note != NULL && !note->sent;

	if (note == NULL)
	{
		note = begin_note(bucket, tag, database, selector, drops);
		was_counted = *drops;
	}
	*marks = mark->is_set && !ut_memory_is_same_mark(mark, &note->mark);
	if (note->at >= at && !*marks)
		return;
	if (*marks)
		note->mark = *mark;
	note->sent = false;
	note->at = Max(note->at, at);
	if (!was_counted)
		*held = pg_atomic_add_fetch_u64(&ut_memory->held, 1);
}

void
ut_memory_put(Oid database, const char *selector, TimestampTz at, const UtMark *mark)
{
	uint8		tag;
	UtBucket   *bucket = ut_memory_find_bucket(database, selector, &tag);
	uint64		held = 0;
	bool		drops = false;
	bool		marks;

	SpinLockAcquire(&bucket->mutex);
	set_note(bucket, tag, database, selector, at, mark, &held, &drops, &marks);
	SpinLockRelease(&bucket->mutex);
	if (held == 1)
		pg_atomic_write_u64(&ut_memory->held_since, (uint64) at);
	if (drops)
		pg_atomic_fetch_add_u64(&ut_memory->dropped, 1);
	if (marks)
		pg_atomic_write_u32(&ut_memory->urgent, 1);
	if (marks || held == ut_memory_capacity() / 2 + 1)
		ut_memory_wake_launcher();
}

bool
ut_memory_take_urgent(void)
{
	return pg_atomic_exchange_u32(&ut_memory->urgent, 0) != 0;
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
