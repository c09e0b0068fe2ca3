/*-------------------------------------------------------------------------
 *
 * memory.h
 *	  What lies in shared memory?
 *
 * For the files of the usage room only.  Locking: see usage.c.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_USAGE_MEMORY_H
#define UT_USAGE_MEMORY_H

#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/spin.h"

#include "text/secret.h"
#include "usage/usage.h"

/*
 * Notes in a bucket.  So many that half as many tokens as there are slots
 * practically never fill one: of eight, one in forty would overflow.
 */
#define UT_BUCKET_NOTES 64

typedef struct UtSlot
{
	Oid			database;		/* InvalidOid: free */
	char		selector[UT_SELECTOR_LEN];
	bool		sent;			/* the primary has it; only shown any more */
	TimestampTz at;
} UtSlot;

typedef struct UtBucket
{
	slock_t		mutex;			/* protects the rest */
	uint8		tags[UT_BUCKET_NOTES];	/* 0: free; else some bits of the
										 * hash, so that one look finds the
										 * note */
	UtSlot		notes[UT_BUCKET_NOTES];
} UtBucket;

typedef struct UtUsageShared
{
	pg_atomic_uint64 verdicts[UT_VERDICTS];
	pg_atomic_uint64 held;
	pg_atomic_uint64 dropped;
	pg_atomic_uint64 flushes;
	pg_atomic_uint32 resume;	/* 1 + the bucket at which a worker ran out of
								 * time; 0: none did */
	slock_t		mutex;			/* protects what follows up to nbuckets */
	Latch	   *launcher;		/* NULL while there is none */
	TimestampTz last_flush;
	TimestampTz reset_at;
	TimestampTz last_error_at;
	char		last_error[256];
	uint32		nbuckets;		/* a power of two; fixed at start */
	UtBucket	buckets[FLEXIBLE_ARRAY_MEMBER];
} UtUsageShared;

/* NULL without the library in shared_preload_libraries. */
extern UtUsageShared *ut_usage_shared;

/* The bucket of a token, and the tag of its note there. */
extern UtBucket *ut_usage_find_bucket(Oid database, const char *selector, uint8 *tag);

/* Under the bucket's lock: the note of a token, or NULL; and removing one. */
extern UtSlot *ut_usage_find_note(UtBucket *bucket, uint8 tag, Oid database, const char *selector);
extern void ut_usage_free_note(UtBucket *bucket, UtSlot *note);

/* Note a use in any database; wakes the launcher when half of the notes are taken. */
extern void ut_usage_put(Oid database, const char *selector, TimestampTz at);

/* How many notes there is room for. */
extern uint64 ut_usage_capacity(void);

#endif							/* UT_USAGE_MEMORY_H */
