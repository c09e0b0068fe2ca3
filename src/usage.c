/*-------------------------------------------------------------------------
 *
 * usage.c
 *	  When was a token last used?  The notes in shared memory.
 *
 * Notes lie in buckets of eight.  A full bucket drops its oldest note.  A note
 * stays until it was written: a worker copies it, writes it, and forgets it
 * only if it was not renewed in between.
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

#include <unistd.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "port/pg_bitutils.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "secret.h"
#include "usage.h"
#include "worker.h"

#define BUCKET_NOTES 8
#define FILE_NAME PGSTAT_STAT_PERMANENT_DIRECTORY "/unleash_tokens.notes"
#define FILE_MAGIC 0x75744e31	/* "utN1" */

typedef struct Note
{
	Oid			database;		/* InvalidOid: free */
	char		selector[UT_SELECTOR_LEN];
	TimestampTz at;
} Note;

typedef struct Bucket
{
	slock_t		mutex;			/* protects the notes */
	Note		notes[BUCKET_NOTES];
} Bucket;

typedef struct Shared
{
	pg_atomic_uint64 verdicts[UT_VERDICTS];
	pg_atomic_uint64 held;
	pg_atomic_uint64 dropped;
	pg_atomic_uint64 flushes;
	slock_t		mutex;			/* protects what follows up to nbuckets */
	Latch	   *launcher;		/* NULL while there is none */
	TimestampTz last_flush;
	TimestampTz reset_at;
	TimestampTz last_error_at;
	char		last_error[256];
	uint32		nbuckets;		/* a power of two; fixed at start */
	Bucket		buckets[FLEXIBLE_ARRAY_MEMBER];
} Shared;

int			ut_usage_slots = 65536;
int			ut_flush_interval = 10;
char	   *ut_primary_conninfo = "";

static Shared *shared = NULL;
static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

/* Set when the log was told that nothing is noted; never reset. */
static bool warned = false;

static void read_file(void);
static void request_memory(void);
static void start_memory(void);
static void wake_launcher(void);
static void write_file(int code, Datum arg);

/* ---- Memory ---- */

static uint32
bucket_count(void)
{
	return pg_nextpower2_32(Max(ut_usage_slots / BUCKET_NOTES, 1));
}

static Size
memory_size(void)
{
	return add_size(offsetof(Shared, buckets), mul_size(bucket_count(), sizeof(Bucket)));
}

void
ut_usage_init(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_memory;
	ut_worker_register_launcher();
}

static void
request_memory(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(memory_size());
}

static void
clear_memory(void)
{
	for (int i = 0; i < UT_VERDICTS; i++)
		pg_atomic_init_u64(&shared->verdicts[i], 0);
	pg_atomic_init_u64(&shared->held, 0);
	pg_atomic_init_u64(&shared->dropped, 0);
	pg_atomic_init_u64(&shared->flushes, 0);
	SpinLockInit(&shared->mutex);
	shared->launcher = NULL;
	shared->last_flush = UT_TIME_UNSET;
	shared->last_error_at = UT_TIME_UNSET;
	shared->last_error[0] = '\0';
	shared->reset_at = GetCurrentTimestamp();
	shared->nbuckets = bucket_count();
	for (uint32 i = 0; i < shared->nbuckets; i++)
	{
		SpinLockInit(&shared->buckets[i].mutex);
		for (int j = 0; j < BUCKET_NOTES; j++)
			shared->buckets[i].notes[j].database = InvalidOid;
	}
}

static void
start_memory(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("unleash_tokens", memory_size(), &found);
	if (!found)
		clear_memory();
	LWLockRelease(AddinShmemInitLock);
	if (IsUnderPostmaster)
		return;
	on_shmem_exit(write_file, (Datum) 0);
	if (!found)
		read_file();
}

/* ---- Notes ---- */

static Bucket *
find_bucket(Oid database, const char *selector)
{
	uint32		hash = hash_bytes((const unsigned char *) selector, UT_SELECTOR_LEN);

	return &shared->buckets[hash_combine(hash, database) & (shared->nbuckets - 1)];
}

static bool
is_note_of(const Note *note, Oid database, const char *selector)
{
	return note->database == database && memcmp(note->selector, selector, UT_SELECTOR_LEN) == 0;
}

/* Under the bucket's lock: the note of a token, a free one, or the oldest. */
static Note *
choose_note(Bucket *bucket, Oid database, const char *selector)
{
	Note	   *chosen = &bucket->notes[0];

	for (int i = 0; i < BUCKET_NOTES; i++)
	{
		Note	   *note = &bucket->notes[i];

		if (is_note_of(note, database, selector))
			return note;
		if (!OidIsValid(chosen->database))
			continue;
		if (!OidIsValid(note->database) || note->at < chosen->at)
			chosen = note;
	}
	return chosen;
}

static void
put_note(Oid database, const char *selector, TimestampTz at)
{
	Bucket	   *bucket = find_bucket(database, selector);
	Note	   *note;
	bool		is_new;
	bool		drops;

	SpinLockAcquire(&bucket->mutex);
	note = choose_note(bucket, database, selector);
	is_new = !is_note_of(note, database, selector);
	drops = is_new && OidIsValid(note->database);
	if (is_new)
	{
		note->database = database;
		memcpy(note->selector, selector, UT_SELECTOR_LEN);
		note->at = at;
	}
	else if (note->at < at)
		note->at = at;
	SpinLockRelease(&bucket->mutex);

	if (drops)
		pg_atomic_fetch_add_u64(&shared->dropped, 1);
	else if (is_new &&
			 pg_atomic_fetch_add_u64(&shared->held, 1) == (uint64) shared->nbuckets * BUCKET_NOTES / 2)
		wake_launcher();
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
	if (shared == NULL)
	{
		if (verdict == UT_VERDICT_VALID)
			warn_once();
		return;
	}
	pg_atomic_fetch_add_u64(&shared->verdicts[verdict], 1);
	if (verdict == UT_VERDICT_VALID)
		put_note(MyDatabaseId, token->selector, GetCurrentTimestamp());
}

void
ut_usage_note(const char *selector, TimestampTz at)
{
	if (shared != NULL)
		put_note(MyDatabaseId, selector, at);
}

void
ut_usage_overlay(UtToken *token)
{
	Bucket	   *bucket;

	if (shared == NULL)
		return;
	bucket = find_bucket(MyDatabaseId, token->selector);
	SpinLockAcquire(&bucket->mutex);
	for (int i = 0; i < BUCKET_NOTES; i++)
	{
		Note	   *note = &bucket->notes[i];

		if (is_note_of(note, MyDatabaseId, token->selector) && note->at > token->seen_at)
			token->seen_at = note->at;
	}
	SpinLockRelease(&bucket->mutex);
}

/* ---- Launcher ---- */

void
ut_usage_set_launcher(Latch *latch)
{
	SpinLockAcquire(&shared->mutex);
	shared->launcher = latch;
	SpinLockRelease(&shared->mutex);
}

/* A latch of a process that has just ended is still memory of ours to set. */
static void
wake_launcher(void)
{
	Latch	   *latch;

	SpinLockAcquire(&shared->mutex);
	latch = shared->launcher;
	SpinLockRelease(&shared->mutex);
	if (latch != NULL)
		SetLatch(latch);
}

bool
ut_usage_is_half_full(void)
{
	return pg_atomic_read_u64(&shared->held) > (uint64) shared->nbuckets * BUCKET_NOTES / 2;
}

int
ut_usage_databases(Oid *databases, int max)
{
	int			count = 0;

	for (uint32 i = 0; i < shared->nbuckets; i++)
	{
		for (int j = 0; j < BUCKET_NOTES; j++)
		{
			/* unlocked: an Oid is read whole, and a wrong one does no harm */
			Oid			database = shared->buckets[i].notes[j].database;
			int			k = 0;

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
	int			count = 0;

	for (; *cursor < shared->nbuckets && count + BUCKET_NOTES <= max; (*cursor)++)
	{
		Bucket	   *bucket = &shared->buckets[*cursor];

		SpinLockAcquire(&bucket->mutex);
		for (int i = 0; i < BUCKET_NOTES; i++)
		{
			if (bucket->notes[i].database != database)
				continue;
			memcpy(notes[count].selector, bucket->notes[i].selector, UT_SELECTOR_LEN);
			notes[count++].at = bucket->notes[i].at;
		}
		SpinLockRelease(&bucket->mutex);
	}
	return count;
}

void
ut_usage_forget(Oid database, const UtNote *notes, int count)
{
	uint64		forgotten = 0;

	for (int i = 0; i < count; i++)
	{
		Bucket	   *bucket = find_bucket(database, notes[i].selector);

		SpinLockAcquire(&bucket->mutex);
		for (int j = 0; j < BUCKET_NOTES; j++)
		{
			Note	   *note = &bucket->notes[j];

			if (is_note_of(note, database, notes[i].selector) && note->at <= notes[i].at)
			{
				note->database = InvalidOid;
				forgotten++;
			}
		}
		SpinLockRelease(&bucket->mutex);
	}
	pg_atomic_fetch_sub_u64(&shared->held, forgotten);
}

void
ut_usage_drop_database(Oid database)
{
	uint64		dropped = 0;

	for (uint32 i = 0; i < shared->nbuckets; i++)
	{
		Bucket	   *bucket = &shared->buckets[i];

		SpinLockAcquire(&bucket->mutex);
		for (int j = 0; j < BUCKET_NOTES; j++)
		{
			if (bucket->notes[j].database != database)
				continue;
			bucket->notes[j].database = InvalidOid;
			dropped++;
		}
		SpinLockRelease(&bucket->mutex);
	}
	pg_atomic_fetch_sub_u64(&shared->held, dropped);
	pg_atomic_fetch_add_u64(&shared->dropped, dropped);
}

void
ut_usage_report_flush(void)
{
	pg_atomic_fetch_add_u64(&shared->flushes, 1);
	SpinLockAcquire(&shared->mutex);
	shared->last_flush = GetCurrentTimestamp();
	SpinLockRelease(&shared->mutex);
}

void
ut_usage_report_error(const char *message)
{
	char		cut[sizeof(shared->last_error)];
	TimestampTz now = GetCurrentTimestamp();

	strlcpy(cut, message, sizeof(cut));
	SpinLockAcquire(&shared->mutex);
	memcpy(shared->last_error, cut, sizeof(cut));
	shared->last_error_at = now;
	SpinLockRelease(&shared->mutex);
}

/* ---- Statistics ---- */

bool
ut_usage_stat(UtUsageStat *stat)
{
	if (shared == NULL)
		return false;
	for (int i = 0; i < UT_VERDICTS; i++)
		stat->verdicts[i] = pg_atomic_read_u64(&shared->verdicts[i]);
	stat->held = pg_atomic_read_u64(&shared->held);
	stat->dropped = pg_atomic_read_u64(&shared->dropped);
	stat->flushes = pg_atomic_read_u64(&shared->flushes);
	SpinLockAcquire(&shared->mutex);
	stat->last_flush = shared->last_flush;
	stat->reset_at = shared->reset_at;
	stat->last_error_at = shared->last_error_at;
	memcpy(stat->last_error, shared->last_error, sizeof(stat->last_error));
	SpinLockRelease(&shared->mutex);
	return true;
}

void
ut_usage_reset(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (shared == NULL)
		return;
	for (int i = 0; i < UT_VERDICTS; i++)
		pg_atomic_write_u64(&shared->verdicts[i], 0);
	pg_atomic_write_u64(&shared->dropped, 0);
	pg_atomic_write_u64(&shared->flushes, 0);
	SpinLockAcquire(&shared->mutex);
	shared->last_flush = UT_TIME_UNSET;
	shared->last_error_at = UT_TIME_UNSET;
	shared->last_error[0] = '\0';
	shared->reset_at = now;
	SpinLockRelease(&shared->mutex);
}

/* ---- The file that bridges a clean restart ---- */

/*
 * At the very end of the postmaster, when nobody notes any more.  A crash
 * leaves no file: at most the notes of one interval are lost.
 */
static void
write_file(int code, Datum arg)
{
	uint32		magic = FILE_MAGIC;
	FILE	   *file;
	bool		ok;

	if (code != 0 || shared == NULL)
		return;
	file = AllocateFile(FILE_NAME ".tmp", PG_BINARY_W);
	ok = file != NULL && fwrite(&magic, sizeof(magic), 1, file) == 1;
	for (uint32 i = 0; ok && i < shared->nbuckets * BUCKET_NOTES; i++)
	{
		Note	   *note = &shared->buckets[i / BUCKET_NOTES].notes[i % BUCKET_NOTES];

		if (OidIsValid(note->database))
			ok = fwrite(note, sizeof(Note), 1, file) == 1;
	}
	if (file != NULL && FreeFile(file) != 0)
		ok = false;
	if (ok)
		(void) durable_rename(FILE_NAME ".tmp", FILE_NAME, LOG);
	else
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", FILE_NAME)));
}

/* What cannot be read is left out: a note is not worth a failed start. */
static void
read_file(void)
{
	FILE	   *file = AllocateFile(FILE_NAME, PG_BINARY_R);
	uint32		magic;
	Note		note;

	if (file == NULL)
	{
		if (errno != ENOENT)
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not read file \"%s\": %m", FILE_NAME)));
		return;
	}
	if (fread(&magic, sizeof(magic), 1, file) == 1 && magic == FILE_MAGIC)
	{
		while (fread(&note, sizeof(note), 1, file) == 1)
			put_note(note.database, note.selector, note.at);
	}
	FreeFile(file);
	unlink(FILE_NAME);
}
