/*-------------------------------------------------------------------------
 *
 * usage.c
 *	  When was a token last used?  The notes themselves.
 *
 * Notes lie in buckets of eight.  A full bucket drops its oldest note.  A note
 * stays until it was written: a worker copies it, writes it, and forgets it
 * only if it was not renewed in between.  One that a standby has sent is not
 * forgotten but marked: until the primary has written it and that is replayed,
 * nothing else knows of the use.  Its place is taken when another needs it.
 *
 * Locking: one spinlock for each bucket, held while its eight notes are looked
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

#include "usage_memory.h"

int			ut_flush_interval = 10;
char	   *ut_primary_conninfo = "";

/* Set when the log was told that nothing is noted; never reset. */
static bool warned = false;

UtBucket *
ut_usage_find_bucket(Oid database, const char *selector)
{
	uint32		hash = hash_bytes((const unsigned char *) selector, UT_SELECTOR_LEN);

	return &ut_usage_shared->buckets[hash_combine(hash, database) & (ut_usage_shared->nbuckets - 1)];
}

bool
ut_usage_is_note(const UtSlot *note, Oid database, const char *selector)
{
	return note->database == database && memcmp(note->selector, selector, UT_SELECTOR_LEN) == 0;
}

/* What is lost when the place of a note is taken: nothing, a memory, a use. */
static int
worth(const UtSlot *note)
{
	if (!OidIsValid(note->database))
		return 0;
	return note->sent ? 1 : 2;
}

/*
 * Under the bucket's lock: the note of a token, or the place to take for it,
 * which among those worth the same is the oldest.
 */
static UtSlot *
choose_note(UtBucket *bucket, Oid database, const char *selector)
{
	UtSlot	   *chosen = &bucket->notes[0];

	for (int i = 0; i < UT_BUCKET_NOTES; i++)
	{
		UtSlot	   *note = &bucket->notes[i];

		if (ut_usage_is_note(note, database, selector))
			return note;
		if (worth(note) < worth(chosen) ||
			(worth(note) == worth(chosen) && note->at < chosen->at))
			chosen = note;
	}
	return chosen;
}

void
ut_usage_put(Oid database, const char *selector, TimestampTz at)
{
	UtBucket   *bucket = ut_usage_find_bucket(database, selector);
	UtSlot	   *note;
	bool		is_new;
	bool		adds = false;
	bool		drops;

	SpinLockAcquire(&bucket->mutex);
	note = choose_note(bucket, database, selector);
	is_new = !ut_usage_is_note(note, database, selector);
	drops = is_new && worth(note) == 2;
	if (is_new || note->at < at)
	{
		adds = worth(note) < 2;
		note->database = database;
		memcpy(note->selector, selector, UT_SELECTOR_LEN);
		note->sent = false;
		note->at = at;
	}
	SpinLockRelease(&bucket->mutex);

	if (drops)
		pg_atomic_fetch_add_u64(&ut_usage_shared->dropped, 1);
	else if (adds &&
			 pg_atomic_fetch_add_u64(&ut_usage_shared->held, 1) == ut_usage_capacity() / 2)
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

	if (ut_usage_shared == NULL)
		return;
	bucket = ut_usage_find_bucket(MyDatabaseId, token->selector);
	SpinLockAcquire(&bucket->mutex);
	for (int i = 0; i < UT_BUCKET_NOTES; i++)
	{
		UtSlot	   *note = &bucket->notes[i];

		if (ut_usage_is_note(note, MyDatabaseId, token->selector) && note->at > token->seen_at)
			token->seen_at = note->at;
	}
	SpinLockRelease(&bucket->mutex);
}
