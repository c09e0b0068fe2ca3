/*-------------------------------------------------------------------------
 *
 * purge.c
 *	  What is old enough to go?
 *
 * An age is turned into a time here, before any statement runs: a negative one
 * would take what is still in use, and the server's own complaint about one
 * that is too large would quote the statement.
 *
 * Knows no SQL text and nothing of HTTP.  Takes no locks of its own.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "rules/purge.h"
#include "rules/service.h"
#include "store/store.h"

#define MAX_YEARS 1000
#define MAX_DAYS (MAX_YEARS * 366)

/*
 * Each part of an interval has a sign of its own: all together count, and each
 * must be small enough to be subtracted.  An infinite one has the largest parts.
 */
static bool
has_allowed_parts(const Interval *age)
{
	return age->month >= -MAX_YEARS * MONTHS_PER_YEAR && age->month <= MAX_YEARS * MONTHS_PER_YEAR &&
		age->day >= -MAX_DAYS && age->day <= MAX_DAYS &&
		age->time >= -MAX_DAYS * USECS_PER_DAY && age->time <= MAX_DAYS * USECS_PER_DAY;
}

static TimestampTz
subtract(TimestampTz time, const Interval *age)
{
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval, TimestampTzGetDatum(time),
												   IntervalPGetDatum(age)));
}

/* The time that lies so long ago. */
static TimestampTz
compute_time(const Interval *age)
{
	static const Interval longest = {.month = MAX_YEARS * MONTHS_PER_YEAR};
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz time = has_allowed_parts(age) ? subtract(now, age) : DT_NOEND;

	if (time > now || time < subtract(now, &longest))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("older_than must be between 0 and %d years", MAX_YEARS),
				 errdetail("It is %s.", DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(age)))),
				 errhint("Give an age such as '90 days'.")));
	return time;
}

int64
ut_purge_expired(const Interval *age, const UtActor *actor)
{
	int			count;
	UtToken    *tokens = ut_store_lock_expired(compute_time(age), &count);

	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		ut_service_remove(&tokens[i], actor);
	}
	return count;
}

int64
ut_purge_events(const Interval *age)
{
	return ut_store_delete_events(compute_time(age));
}
