/*-------------------------------------------------------------------------
 *
 * rate.c
 *	  May a token be used once more now?
 *
 * The generic cell rate algorithm: each use moves the token's arrival time on
 * by one interval (period / limit), and passes when that time is at most
 * burst - 1 intervals ahead of now.  These 8 bytes are all that is kept of a
 * token, beside a key of 8 that finds them.  Times are those of the monotonic
 * clock, in nanoseconds: who sets the server's clock changes nothing.
 *
 * Arrival times that have passed say as much as none: only such an entry makes
 * room for another token.  When a bucket has none, the token is refused: what
 * cannot be counted must not pass.
 *
 * Locking: a use that finds its entry moves the time by compare-and-swap.  Who
 * brings a key in holds the spinlock of its bucket, so that none comes in
 * twice, and takes the entry it replaces out of use by the same means before it
 * changes the key.  The time of an entry never goes back but where a limit was
 * raised, so a swap that succeeds hit the entry it had looked at.
 *
 * Knows no table and nothing of HTTP, nor where a limit comes from.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "port/pg_bitutils.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"

#include "text/secret.h"
#include "usage/rate.h"

#define NANOSECONDS UINT64CONST(1000000000)
#define BUCKET_ENTRIES 63		/* with the lock 1,024 bytes */
#define MOVING PG_UINT64_MAX	/* as a time: another token takes the entry */

typedef struct Entry
{
	pg_atomic_uint64 key;		/* 0: free */
	pg_atomic_uint64 arrival;
} Entry;

typedef struct Bucket
{
	slock_t		mutex;			/* for keys that come in */
	Entry		entries[BUCKET_ENTRIES];
} Bucket;

typedef struct Rates
{
	pg_atomic_uint64 refused;
	pg_atomic_uint64 full;
	uint64		seed;			/* so that nobody can choose selectors that
								 * fall together */
	uint32		nbuckets;		/* a power of two; fixed at start */
	Bucket		buckets[FLEXIBLE_ARRAY_MEMBER];
} Rates;

int			ut_rate_slots = 65536;

static Rates *rates = NULL;

static uint32
bucket_count(void)
{
	return pg_nextpower2_32(Max(ut_rate_slots / BUCKET_ENTRIES, 1));
}

Size
ut_rate_size(void)
{
	return add_size(offsetof(Rates, buckets), mul_size(bucket_count(), sizeof(Bucket)));
}

static void
clear_rates(void)
{
	memset(rates, 0, ut_rate_size());
	pg_atomic_init_u64(&rates->refused, 0);
	pg_atomic_init_u64(&rates->full, 0);
	if (!pg_strong_random(&rates->seed, sizeof(rates->seed)))
		rates->seed = (uint64) MyStartTimestamp;
	rates->nbuckets = bucket_count();
	for (uint32 i = 0; i < rates->nbuckets; i++)
	{
		SpinLockInit(&rates->buckets[i].mutex);
		for (int j = 0; j < BUCKET_ENTRIES; j++)
		{
			pg_atomic_init_u64(&rates->buckets[i].entries[j].key, 0);
			pg_atomic_init_u64(&rates->buckets[i].entries[j].arrival, 0);
		}
	}
}

/* The caller holds AddinShmemInitLock. */
void
ut_rate_start(void)
{
	bool		found;

	rates = ShmemInitStruct("unleash_tokens rates", ut_rate_size(), &found);
	if (!found)
		clear_rates();
}

static uint64
read_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64) now.tv_sec * NANOSECONDS + (uint64) now.tv_nsec;
}

/* Between two uses at the steady rate; rounded up, so that never more pass than said. */
static uint64
get_interval(const UtRate *rate)
{
	return ((uint64) rate->period * NANOSECONDS + rate->limit - 1) / rate->limit;
}

/* From its place on, where it is most of the time, once around the bucket. */
static Entry *
find_entry(Bucket *bucket, uint64 key)
{
	int			first = (int) ((key >> 32) % BUCKET_ENTRIES);

	for (int i = 0; i < BUCKET_ENTRIES; i++)
	{
		Entry	   *entry = &bucket->entries[(first + i) % BUCKET_ENTRIES];
		uint64		found = pg_atomic_read_u64(&entry->key);

		if (found == key)
			return entry;
		if (found == 0)
			return NULL;
	}
	return NULL;
}

/*
 * Under the bucket's lock: an entry for a key that is not there, whose time has
 * passed or that never had one.  Nobody can use it for its old key any more.
 * NULL: there is none.
 */
static Entry *
take_entry(Bucket *bucket, uint64 key, uint64 now, uint64 *passed)
{
	int			first = (int) ((key >> 32) % BUCKET_ENTRIES);

	for (int i = 0; i < BUCKET_ENTRIES; i++)
	{
		Entry	   *entry = &bucket->entries[(first + i) % BUCKET_ENTRIES];

		*passed = pg_atomic_read_u64(&entry->arrival);
		if (*passed <= now &&
			pg_atomic_compare_exchange_u64(&entry->arrival, passed, MOVING))
			return entry;
	}
	return NULL;
}

/* Bring a key in, unless another process just did; false when there is no room. */
static bool
bring_in(Bucket *bucket, uint64 key)
{
	uint64		now = read_clock();
	uint64		passed;
	Entry	   *entry;

	SpinLockAcquire(&bucket->mutex);
	entry = find_entry(bucket, key);
	if (entry == NULL)
	{
		entry = take_entry(bucket, key, now, &passed);
		if (entry != NULL)
		{
			pg_atomic_write_u64(&entry->key, key);
			pg_write_barrier();
			/* never a time that the entry has had for another key */
			pg_atomic_write_u64(&entry->arrival, Max(now, passed + 1));
		}
	}
	SpinLockRelease(&bucket->mutex);
	return entry != NULL;
}

/* Is the entry that of the key, with that time, and was it so at one moment? */
static bool
read_entry(Entry *entry, uint64 key, uint64 *arrival)
{
	*arrival = pg_atomic_read_u64(&entry->arrival);
	pg_read_barrier();
	return *arrival != MOVING && pg_atomic_read_u64(&entry->key) == key;
}

/*
 * What the bearer is told: so many more pass at now, given the time that is
 * kept, and when it is one more.
 */
static void
tell(UtRateState *state, uint64 arrival, uint64 now, uint64 interval, int burst)
{
	uint64		ahead = arrival > now ? arrival - now : 0;
	uint64		most = (uint64) burst * interval;
	uint64		wait;

	state->remaining = ahead >= most ? 0 : (int) ((most - ahead) / interval);
	wait = ahead + (uint64) (state->remaining + 1) * interval;
	wait = wait > most ? wait - most : 0;
	state->seconds = (int) ((wait + NANOSECONDS - 1) / NANOSECONDS);
}

/*
 * One try on the entry of the key; false when another process came before.
 * The clock is read after the time that is kept, so that it is never behind
 * the reading of the process that wrote it.
 */
static bool
try_entry(Entry *entry, uint64 key, const UtRate *rate, UtRateState *state, UtRateOutcome *outcome)
{
	uint64		interval = get_interval(rate);
	uint64		most = (uint64) rate->burst * interval;
	uint64		arrival;
	uint64		now;
	uint64		next;

	if (!read_entry(entry, key, &arrival))
		return false;
	now = read_clock();
	/* of a lower limit than this one: it may not hold the token up for longer */
	next = Min(Max(arrival, now), now + most);
	*outcome = next + interval <= now + most ? UT_RATE_PASSED : UT_RATE_REFUSED;
	if (*outcome == UT_RATE_PASSED)
		next += interval;
	tell(state, next, now, interval, rate->burst);
	return next == arrival || pg_atomic_compare_exchange_u64(&entry->arrival, &arrival, next);
}

static uint64
make_key(const char *selector)
{
	uint64		key = hash_bytes_extended((const unsigned char *) selector, UT_SELECTOR_LEN,
										  rates->seed ^ MyDatabaseId);

	return key == 0 ? 1 : key;
}

static UtRateOutcome
take(const char *selector, const UtRate *rate, UtRateState *state)
{
	uint64		key = make_key(selector);
	Bucket	   *bucket = &rates->buckets[key & (rates->nbuckets - 1)];
	UtRateOutcome outcome;

	for (;;)
	{
		Entry	   *entry = find_entry(bucket, key);

		if (entry == NULL && !bring_in(bucket, key))
			return UT_RATE_FULL;
		if (entry != NULL && try_entry(entry, key, rate, state, &outcome))
			return outcome;
	}
}

UtRateOutcome
ut_rate_take(const char *selector, const UtRate *rate, UtRateState *state)
{
	UtRateOutcome outcome;

	state->rate = *rate;
	state->remaining = 0;
	state->seconds = 1;
	if (rates == NULL)
		return UT_RATE_UNCOUNTED;
	outcome = take(selector, rate, state);
	if (outcome == UT_RATE_REFUSED)
		pg_atomic_fetch_add_u64(&rates->refused, 1);
	if (outcome == UT_RATE_FULL)
		pg_atomic_fetch_add_u64(&rates->full, 1);
	return outcome;
}

void
ut_rate_read_counters(uint64 *refused, uint64 *full)
{
	*refused = rates == NULL ? 0 : pg_atomic_read_u64(&rates->refused);
	*full = rates == NULL ? 0 : pg_atomic_read_u64(&rates->full);
}

void
ut_rate_reset_counters(void)
{
	if (rates == NULL)
		return;
	pg_atomic_write_u64(&rates->refused, 0);
	pg_atomic_write_u64(&rates->full, 0);
}
