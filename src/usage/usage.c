/*-------------------------------------------------------------------------
 *
 * usage.c
 *	  When was a token last used?
 *
 * Locking: the spinlock of a bucket, as memory.c says.
 *
 * Knows no table and nothing of HTTP, nor who writes the notes and when.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "usage/memory.h"
#include "usage/usage.h"

/* Set when the log was told that nothing is noted; never reset. */
static bool warned = false;

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
	if (ut_memory == NULL)
	{
		if (verdict == UT_VERDICT_VALID)
			warn_once();
		return;
	}
	pg_atomic_fetch_add_u64(&ut_memory->verdicts[verdict], 1);
	if (verdict == UT_VERDICT_VALID)
		ut_memory_put(MyDatabaseId, token->selector, GetCurrentTimestamp(), &token->used);
}

void
ut_usage_note(const char *selector, TimestampTz at, const UtMark *mark)
{
	if (ut_memory != NULL)
		ut_memory_put(MyDatabaseId, selector, at, mark);
}

bool
ut_usage_is_noted(void)
{
	return ut_memory != NULL;
}

bool
ut_usage_has_mark(const char *selector, const UtMark *mark)
{
	UtBucket   *bucket;
	UtSlot	   *note;
	uint8		tag;
	bool		found;

	if (ut_memory == NULL)
		return false;
	bucket = ut_memory_find_bucket(MyDatabaseId, selector, &tag);
	SpinLockAcquire(&bucket->mutex);
	note = ut_memory_find_note(bucket, tag, MyDatabaseId, selector);
	found = note != NULL && ut_memory_is_same_mark(&note->mark, mark);
	SpinLockRelease(&bucket->mutex);
	return found;
}

void
ut_usage_overlay(UtToken *token)
{
	UtBucket   *bucket;
	UtSlot	   *note;
	uint8		tag;

	if (ut_memory == NULL)
		return;
	bucket = ut_memory_find_bucket(MyDatabaseId, token->selector, &tag);
	SpinLockAcquire(&bucket->mutex);
	note = ut_memory_find_note(bucket, tag, MyDatabaseId, token->selector);
	if (note != NULL)
		token->seen_at = Max(token->seen_at, note->at);
	SpinLockRelease(&bucket->mutex);
}
