/*-------------------------------------------------------------------------
 *
 * notes.c
 *	  When was a token last used?  The notes themselves.
 *
 * Notes lie in buckets of 64.  A full bucket drops its oldest note.  A note
 * stays until it was written: a worker copies it, writes it, and forgets it
 * only if it was not renewed in between.  One that a standby has sent is not
 * forgotten but marked: until the primary has written it and that is replayed,
 * nothing else knows of the use.  Its place is taken when another needs it.
 *
 * Locking: one spinlock for each bucket, held while its notes are looked
 * at and for nothing else; counters are atomic; what the workers report has a
 * spinlock of its own.  Nothing here waits, allocates or raises under a lock.
 *
 * Knows no table and nothing of HTTP.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "usage/memory.h"

int			ut_flush_interval = 10;
char	   *ut_primary_conninfo = "";

/* Set when the log was told that nothing is noted; never reset. */
static bool warned = false;

UtBucket *
ut_usage_find_bucket(Oid database, const char *selector, uint8 *tag)
{
	uint32		hash = hash_combine(hash_bytes((const unsigned char *) selector, UT_SELECTOR_LEN),
									database);

	*tag = 1 + (hash >> 24) % UINT8_MAX;
	return &ut_usage_shared->buckets[hash & (ut_usage_shared->nbuckets - 1)];
}

UtSlot *
ut_usage_find_note(UtBucket *bucket, uint8 tag, Oid database, const char *selector)
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
ut_usage_free_note(UtBucket *bucket, UtSlot *note)
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
	UtSlot	   *note = ut_usage_find_note(bucket, tag, database, selector);
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
		*held = pg_atomic_add_fetch_u64(&ut_usage_shared->held, 1);
	return is_new && was_counted;
}

void
ut_usage_put(Oid database, const char *selector, TimestampTz at)
{
	uint8		tag;
	UtBucket   *bucket = ut_usage_find_bucket(database, selector, &tag);
	uint64		held = 0;
	bool		drops;

	SpinLockAcquire(&bucket->mutex);
	drops = set_note(bucket, tag, database, selector, at, &held);
	SpinLockRelease(&bucket->mutex);
	if (drops)
		pg_atomic_fetch_add_u64(&ut_usage_shared->dropped, 1);
	if (held == ut_usage_capacity() / 2 + 1)
		ut_usage_wake_launcher();
}

/* Once in the life of a backend, and to the server's log alone. */
static void
warn_once(void)
{
	int			before = client_min_messages;

	if (warned)
		return;
	warned = true;
	client_min_messages = ERROR;
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("uses of API tokens are not recorded"),
			 errhint("Add unleash_tokens to shared_preload_libraries and restart the server.")));
	client_min_messages = before;
}

void
ut_usage_count(UtVerdict verdict, const UtToken *token)
{
	if (ut_usage_shared == NULL)
	{
		if (verdict == UT_VERDICT_VALID)
			warn_once();
		return;
	}
	pg_atomic_fetch_add_u64(&ut_usage_shared->verdicts[verdict], 1);
	if (verdict == UT_VERDICT_VALID)
		ut_usage_put(MyDatabaseId, token->selector, GetCurrentTimestamp());
}

void
ut_usage_note(const char *selector, TimestampTz at)
{
	if (ut_usage_shared != NULL)
		ut_usage_put(MyDatabaseId, selector, at);
}

void
ut_usage_overlay(UtToken *token)
{
	UtBucket   *bucket;
	UtSlot	   *note;
	uint8		tag;

	if (ut_usage_shared == NULL)
		return;
	bucket = ut_usage_find_bucket(MyDatabaseId, token->selector, &tag);
	SpinLockAcquire(&bucket->mutex);
	note = ut_usage_find_note(bucket, tag, MyDatabaseId, token->selector);
	if (note != NULL)
		token->seen_at = Max(token->seen_at, note->at);
	SpinLockRelease(&bucket->mutex);
}
