/*-------------------------------------------------------------------------
 *
 * memory.c
 *	  What lies in shared memory, and how does it outlive a restart?
 *
 * The end of the postmaster writes the notes to a file and the start reads them
 * again, as pg_stat_statements does; a crash leaves no file.
 *
 * Locking: none of its own; it works before and after everybody else.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "port/pg_bitutils.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "usage/memory.h"
#include "usage/worker.h"

#define FILE_NAME PGSTAT_STAT_PERMANENT_DIRECTORY "/unleash_tokens.notes"
#define FILE_MAGIC 0x75744e31	/* "utN1" */

int			ut_usage_slots = 262144;
UtUsageShared *ut_usage_shared = NULL;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static void read_file(void);
static void request_memory(void);
static void start_memory(void);
static void write_file(int code, Datum arg);

static uint32
bucket_count(void)
{
	return pg_nextpower2_32(Max(ut_usage_slots / UT_BUCKET_NOTES, 1));
}

uint64
ut_usage_capacity(void)
{
	return (uint64) ut_usage_shared->nbuckets * UT_BUCKET_NOTES;
}

static Size
memory_size(void)
{
	return add_size(offsetof(UtUsageShared, buckets), mul_size(bucket_count(), sizeof(UtBucket)));
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
		pg_atomic_init_u64(&ut_usage_shared->verdicts[i], 0);
	pg_atomic_init_u64(&ut_usage_shared->held, 0);
	pg_atomic_init_u64(&ut_usage_shared->dropped, 0);
	pg_atomic_init_u64(&ut_usage_shared->flushes, 0);
	pg_atomic_init_u32(&ut_usage_shared->resume, 0);
	SpinLockInit(&ut_usage_shared->mutex);
	ut_usage_shared->launcher = NULL;
	ut_usage_shared->last_flush = UT_TIME_UNSET;
	ut_usage_shared->last_error_at = UT_TIME_UNSET;
	ut_usage_shared->last_error[0] = '\0';
	ut_usage_shared->reset_at = GetCurrentTimestamp();
	ut_usage_shared->nbuckets = bucket_count();
	for (uint32 i = 0; i < ut_usage_shared->nbuckets; i++)
	{
		SpinLockInit(&ut_usage_shared->buckets[i].mutex);
		for (int j = 0; j < UT_BUCKET_NOTES; j++)
			ut_usage_free_note(&ut_usage_shared->buckets[i], &ut_usage_shared->buckets[i].notes[j]);
	}
}

static void
start_memory(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	ut_usage_shared = ShmemInitStruct("unleash_tokens", memory_size(), &found);
	if (!found)
		clear_memory();
	LWLockRelease(AddinShmemInitLock);
	if (IsUnderPostmaster)
		return;
	on_shmem_exit(write_file, (Datum) 0);
	if (!found)
		read_file();
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

	if (code != 0 || ut_usage_shared == NULL)
		return;
	file = AllocateFile(FILE_NAME ".tmp", PG_BINARY_W);
	ok = file != NULL && fwrite(&magic, sizeof(magic), 1, file) == 1;
	for (uint64 i = 0; ok && i < ut_usage_capacity(); i++)
	{
		UtSlot	   *note = &ut_usage_shared->buckets[i / UT_BUCKET_NOTES].notes[i % UT_BUCKET_NOTES];

		if (OidIsValid(note->database))
			ok = fwrite(note, sizeof(UtSlot), 1, file) == 1;
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

/* A spoilt note could keep a worker from writing all others. */
static bool
is_sound(const UtSlot *note)
{
	return OidIsValid(note->database) &&
		ut_secret_is_selector(note->selector, UT_SELECTOR_LEN) && note->at > 0;
}

/* What cannot be read is left out: a note is not worth a failed start. */
static void
read_file(void)
{
	FILE	   *file = AllocateFile(FILE_NAME, PG_BINARY_R);
	TimestampTz now = GetCurrentTimestamp();
	uint32		magic;
	UtSlot		note;

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
		{
			if (is_sound(&note))
				ut_usage_put(note.database, note.selector, Min(note.at, now));
		}
	}
	FreeFile(file);
	unlink(FILE_NAME);
}
