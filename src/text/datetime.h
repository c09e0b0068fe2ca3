/*-------------------------------------------------------------------------
 *
 * datetime.h
 *	  How is a point in time written on the wire?
 *
 * Pure C without postgres.h: it is fuzzed alone.  Times are milliseconds
 * since 1970-01-01 00:00 UTC in the proleptic Gregorian calendar.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_DATETIME_H
#define UT_DATETIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UT_DATETIME_LEN 24		/* 2031-05-06T07:08:09.123Z */
#define UT_DATETIME_MIN INT64_C(-62167219200000)	/* 0000-01-01T00:00:00.000Z */
#define UT_DATETIME_MAX INT64_C(253402300799999)	/* 9999-12-31T23:59:59.999Z */

/*
 * Read an RFC 3339 date-time as Unleash takes it: T, t or a blank between date
 * and time; seconds with any number of decimals, cut to milliseconds; Z, z,
 * +hh:mm, +hhmm (hours to 23, minutes to 59) or no zone at all, which is UTC.
 * A leap second, a date alone, missing seconds, a day that does not exist or a
 * result outside UT_DATETIME_MIN..MAX is refused: false, *ms untouched.
 */
extern bool ut_datetime_parse(const char *text, size_t len, int64_t *ms);

/*
 * Write ms as YYYY-MM-DDTHH:MM:SS.mmmZ with a final NUL; out has room for
 * UT_DATETIME_LEN + 1 bytes.  ms must lie in UT_DATETIME_MIN..MAX.
 */
extern void ut_datetime_format(int64_t ms, char *out);

#endif							/* UT_DATETIME_H */
