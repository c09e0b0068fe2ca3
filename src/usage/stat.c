/*-------------------------------------------------------------------------
 *
 * stat.c
 *	  What does the view unleash_tokens.stat show?
 *
 * Locking: the spinlock of what the workers report; counters are atomic.
 *
 * Knows no table, and not who asks.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/timestamp.h"

#include "base/encoding.h"
#include "usage/memory.h"
#include "usage/rate.h"
#include "usage/stat.h"

/* Each byte that is not ASCII as \xHH: for a text of an encoding that is not known. */
static char *
escape(const char *bytes)
{
	StringInfoData escaped;

	initStringInfo(&escaped);
	for (; *bytes != '\0'; bytes++)
	{
		if (IS_HIGHBIT_SET(*bytes))
			appendStringInfo(&escaped, "\\x%02X", (unsigned char) *bytes);
		else
			appendStringInfoChar(&escaped, *bytes);
	}
	return escaped.data;
}

/*
 * It was raised in one database and is read in any other: kept in UTF-8, which
 * has all characters, and cut between two of them.
 */
void
ut_stat_report_error(const char *message)
{
	TimestampTz now = GetCurrentTimestamp();
	size_t		size;
	char	   *utf8 = ut_encoding_to_utf8(message, strlen(message), &size);
	int			len;

	/* SQL_ASCII holds bytes of any encoding */
	if (utf8 == NULL || !pg_verify_mbstr(PG_UTF8, utf8, size, true))
		utf8 = escape(message);
	len = pg_encoding_mbcliplen(PG_UTF8, utf8, strlen(utf8), UT_ERROR_SIZE - 1);
	SpinLockAcquire(&ut_memory->mutex);
	memcpy(ut_memory->last_error, utf8, len);
	ut_memory->last_error[len] = '\0';
	ut_memory->last_error_at = now;
	SpinLockRelease(&ut_memory->mutex);
}

static char *
show_error(const char *utf8)
{
	char	   *shown = ut_encoding_from_utf8(utf8, strlen(utf8));

	return shown == NULL ? escape(utf8) : shown;
}

void
ut_stat_report_wait(bool waits)
{
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&ut_memory->mutex);
	if (!waits)
		ut_memory->waits_since = UT_TIME_UNSET;
	else if (ut_memory->waits_since == UT_TIME_UNSET)
		ut_memory->waits_since = now;
	SpinLockRelease(&ut_memory->mutex);
}

void
ut_stat_report_flush(void)
{
	TimestampTz now = GetCurrentTimestamp();

	pg_atomic_fetch_add_u64(&ut_memory->flushes, 1);
	SpinLockAcquire(&ut_memory->mutex);
	ut_memory->last_flush = now;
	SpinLockRelease(&ut_memory->mutex);
}

bool
ut_stat_read(UtUsageStat *stat)
{
	char		error[UT_ERROR_SIZE];

	if (ut_memory == NULL)
		return false;
	for (int i = 0; i < UT_VERDICTS; i++)
		stat->verdicts[i] = pg_atomic_read_u64(&ut_memory->verdicts[i]);
	ut_rate_read_counters(&stat->rate_refused, &stat->rate_uncounted);
	stat->held = ut_memory_held();
	stat->dropped = pg_atomic_read_u64(&ut_memory->dropped);
	stat->flushes = pg_atomic_read_u64(&ut_memory->flushes);
	SpinLockAcquire(&ut_memory->mutex);
	stat->last_flush = ut_memory->last_flush;
	stat->reset_at = ut_memory->reset_at;
	stat->last_error_at = ut_memory->last_error_at;
	stat->waits_since = ut_memory->waits_since;
	memcpy(error, ut_memory->last_error, sizeof(error));
	SpinLockRelease(&ut_memory->mutex);
	stat->last_error = show_error(error);
	return true;
}

void
ut_stat_reset(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (ut_memory == NULL)
		return;
	for (int i = 0; i < UT_VERDICTS; i++)
		pg_atomic_write_u64(&ut_memory->verdicts[i], 0);
	ut_rate_reset_counters();
	pg_atomic_write_u64(&ut_memory->dropped, 0);
	pg_atomic_write_u64(&ut_memory->flushes, 0);
	SpinLockAcquire(&ut_memory->mutex);
	ut_memory->last_flush = UT_TIME_UNSET;
	ut_memory->last_error_at = UT_TIME_UNSET;
	ut_memory->last_error[0] = '\0';
	ut_memory->reset_at = now;
	SpinLockRelease(&ut_memory->mutex);
}
