/*-------------------------------------------------------------------------
 *
 * memory.h
 *	  What lies in shared memory?
 *
 * For the files of this folder only.  A new fact of a token goes into UtSlot,
 * beside its note, and is there as long as the note is; a new fact of the
 * whole server goes into UtShared.  What must outlive a restart is the slot
 * alone: the file of notes holds slots as they are, with their size, so that a
 * slot of another size is not taken for one.
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

#include "base/token.h"
#include "text/secret.h"
#include "usage/census.h"
#include "usage/usage.h"

/*
 * Notes in a bucket.  So many that half as many tokens as there are slots
 * practically never fill one: of eight, one in forty would overflow.
 */
#define UT_BUCKET_NOTES 64

/* Databases that have a worker, or are to have one again, at the same time. */
#define UT_RUNS 64

/* Bytes of the last error, in UTF-8, with the NUL. */
#define UT_ERROR_SIZE 256

typedef struct UtSlot
{
	Oid			database;		/* InvalidOid: free */
	char		selector[UT_SELECTOR_LEN];
	bool		sent;			/* the primary has it; only shown any more */
	UtMark		mark;			/* a use since the last write was of a new
								 * secret */
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

/* A database that has a worker, or is to have one again before its interval. */
typedef struct UtRun
{
	Oid			database;		/* InvalidOid: free */
	bool		running;		/* a worker was asked for and has not ended */
	bool		reported;		/* it has said how it ended */
	uint32		resume;			/* bucket at which the next one begins */
	uint32		failures;		/* how many failed in a row */
	TimestampTz due;			/* no worker before this time */
} UtRun;

typedef struct UtShared
{
	pg_atomic_uint64 verdicts[UT_VERDICTS];
	pg_atomic_uint64 held;
	pg_atomic_uint64 held_since;	/* a TimestampTz: when it was none last */
	pg_atomic_uint64 dropped;
	pg_atomic_uint64 flushes;
	pg_atomic_uint32 urgent;	/* a note is to be written at once */
	slock_t		mutex;			/* protects what follows up to nbuckets */
	Latch	   *launcher;		/* NULL while there is none */
	UtRun		runs[UT_RUNS];
	UtCensus	censuses[UT_RUNS];
	TimestampTz last_flush;
	TimestampTz reset_at;
	TimestampTz last_error_at;
	TimestampTz waits_since;
	char		last_error[UT_ERROR_SIZE];
	uint32		nbuckets;		/* a power of two; fixed at start */
	UtBucket	buckets[FLEXIBLE_ARRAY_MEMBER];
} UtShared;

/* NULL without the library in shared_preload_libraries. */
extern UtShared *ut_memory;

/* Bytes that are needed, for as many notes as the setting says; and emptying them. */
extern Size ut_memory_size(void);
extern void ut_memory_clear(void);

/* How many notes there is room for, how many wait to be written, and are those more than half? */
extern uint64 ut_memory_capacity(void);
extern uint64 ut_memory_held(void);
extern bool ut_memory_is_half_full(void);

/* The bucket of a token, and the tag of its note there. */
extern UtBucket *ut_memory_find_bucket(Oid database, const char *selector, uint8 *tag);

/* Under the bucket's lock: the note of a token, or NULL; and removing one. */
extern UtSlot *ut_memory_find_note(UtBucket *bucket, uint8 tag, Oid database, const char *selector);
extern void ut_memory_free_note(UtBucket *bucket, UtSlot *note);

/*
 * Note a use in any database; a time that is older than the noted one changes
 * nothing, a mark stays until another comes.  Wakes the launcher when half of the
 * notes are taken, and at the first use of a new secret, which is urgent.
 */
extern void ut_memory_put(Oid database, const char *selector, TimestampTz at, const UtMark *mark);

/* Is a note to be written at once?  Asked by the launcher, who sees to it. */
extern bool ut_memory_take_urgent(void);

/* Are two marks of the same new secret? */
extern bool ut_memory_is_same_mark(const UtMark *a, const UtMark *b);

/* Whose latch is set when there is work; NULL: nobody's. */
extern void ut_memory_set_launcher(Latch *latch);
extern void ut_memory_wake_launcher(void);

#endif							/* UT_USAGE_MEMORY_H */
