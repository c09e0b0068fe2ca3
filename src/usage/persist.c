/*-------------------------------------------------------------------------
 *
 * persist.c
 *	  Where do the notes come from at a start, and where do they go at a stop?
 *
 * The end of the postmaster writes the notes to a file and the start reads them
 * again, as pg_stat_statements does; a crash leaves no file.  Databases are
 * named by their OIDs, which pg_upgrade keeps: the file may be carried to the
 * new cluster by hand.
 *
 * Locking: none of its own; it works before and after everybody else.
 *
 * Knows no table, and not who writes the notes to one.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "base/contact.h"
#include "usage/memory.h"
#include "usage/persist.h"
#include "usage/rate.h"

#define FILE_NAME PGSTAT_STAT_PERMANENT_DIRECTORY "/unleash_tokens.notes"

/* In front of the slots; a file of another magic or size of slots is left out. */
#define FILE_MAGIC 0x75744e33	/* "utN3" */

typedef struct Header
{
	uint32		magic;
	uint32		slot_size;
} Header;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static void read_file(void);
static void request_memory(void);
static void start_memory(void);
static void write_file(int code, Datum arg);

void
ut_persist_init(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_memory;
}

static void
request_memory(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(ut_memory_size());
	RequestAddinShmemSpace(ut_rate_size());
	RequestAddinShmemSpace(ut_contact_size());
}

static void
start_memory(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	ut_memory = ShmemInitStruct("unleash_tokens", ut_memory_size(), &found);
	if (!found)
		ut_memory_clear();
	ut_rate_start();
	ut_contact_start();
	LWLockRelease(AddinShmemInitLock);
	if (IsUnderPostmaster)
		return;
	on_shmem_exit(write_file, (Datum) 0);
	if (!found)
		read_file();
}

/*
 * At the very end of the postmaster, when nobody notes any more.  A crash
 * leaves no file: at most the notes of one interval are lost.  (From PostgreSQL 18
 * on an immediate stop is none: it ends with 0.  A note that was torn by it is
 * left out by the start, or names nobody.)
 */
static void
write_file(int code, Datum arg)
{
	Header		header = {FILE_MAGIC, sizeof(UtSlot)};
	FILE	   *file;
	bool		ok;

	if (code != 0 || ut_memory == NULL)
		return;
	file = AllocateFile(FILE_NAME ".tmp", PG_BINARY_W);
	ok = file != NULL && fwrite(&header, sizeof(header), 1, file) == 1;
	for (uint64 i = 0; ok && i < ut_memory_capacity(); i++)
	{
		UtSlot	   *note = &ut_memory->buckets[i / UT_BUCKET_NOTES].notes[i % UT_BUCKET_NOTES];

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
	Header		header;
	UtSlot		note;

	if (file == NULL)
	{
		if (errno != ENOENT)
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not read file \"%s\": %m", FILE_NAME)));
		return;
	}
	if (fread(&header, sizeof(header), 1, file) == 1 &&
		header.magic == FILE_MAGIC && header.slot_size == sizeof(UtSlot))
	{
		while (fread(&note, sizeof(note), 1, file) == 1)
		{
			if (is_sound(&note))
				ut_memory_put(note.database, note.selector, Min(note.at, now), &note.mark);
		}
	}
	FreeFile(file);
	unlink(FILE_NAME);
}
