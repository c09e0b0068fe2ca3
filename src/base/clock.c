/*-------------------------------------------------------------------------
 *
 * clock.c
 *	  Which time lies an interval away?
 *
 * Knows no token and takes no locks.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"

#include "base/clock.h"

#define MAX_DAYS (UT_CLOCK_MAX_YEARS * 366)

/*
 * Each part of an interval has a sign of its own: all together count, and each
 * must be small enough to be added.  An infinite one has the largest parts.
 */
static bool
has_allowed_parts(const Interval *interval)
{
	return interval->month >= -UT_CLOCK_MAX_YEARS * MONTHS_PER_YEAR &&
		interval->month <= UT_CLOCK_MAX_YEARS * MONTHS_PER_YEAR &&
		interval->day >= -MAX_DAYS && interval->day <= MAX_DAYS &&
		interval->time >= -MAX_DAYS * USECS_PER_DAY && interval->time <= MAX_DAYS * USECS_PER_DAY;
}

static TimestampTz
move(TimestampTz time, const Interval *interval, bool back)
{
	return DatumGetTimestampTz(DirectFunctionCall2(back ? timestamptz_mi_interval : timestamptz_pl_interval,
												   TimestampTzGetDatum(time), IntervalPGetDatum(interval)));
}

bool
ut_clock_move(TimestampTz from, const Interval *interval, bool back, TimestampTz *to)
{
	static const Interval longest = {.month = UT_CLOCK_MAX_YEARS * MONTHS_PER_YEAR};
	TimestampTz end = move(from, &longest, back);

	if (!has_allowed_parts(interval))
		return false;
	*to = move(from, interval, back);
	return back ? *to <= from && *to >= end : *to >= from && *to <= end;
}
