/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  How do the server's times and those on the wire convert, and which time
 *	  lies an interval away?
 *
 * The server counts microseconds since 2000, the wire milliseconds since 1970.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_CLOCK_H
#define UT_CLOCK_H

#include "utils/timestamp.h"

#define UT_EPOCH_SHIFT_MS \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000)

static inline TimestampTz
ut_clock_from_ms(int64 ms)
{
	return (ms - UT_EPOCH_SHIFT_MS) * 1000;
}

/* Rounds towards the past, so that a shown time is never in the future. */
static inline int64
ut_clock_to_ms(TimestampTz time)
{
	int64		ms = time / 1000;

	if (time % 1000 < 0)
		ms--;
	return ms + UT_EPOCH_SHIFT_MS;
}

/* The time of the call, not of the transaction. */
static inline int64
ut_clock_now_ms(void)
{
	return ut_clock_to_ms(GetCurrentTimestamp());
}

/*
 * The time that lies an interval later, or (back) earlier; false for one below
 * zero or longer than so many years, which no sum of times overflows by.
 */
#define UT_CLOCK_MAX_YEARS 1000
extern bool ut_clock_move(TimestampTz from, const Interval *interval, bool back, TimestampTz *to);

#endif							/* UT_CLOCK_H */
