/*-------------------------------------------------------------------------
 *
 * unit_datetime.c
 *	  Does src/text/datetime.c read and write points in time as Unleash does?
 *
 * The calendar is walked here day by day, with nothing but the lengths of
 * the months, and compared with the C library's gmtime_r() and timegm().
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#define _DEFAULT_SOURCE			/* timegm */

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../src/text/datetime.h"
#include "unit.h"

#define DAY INT64_C(86400000)
#define UNTOUCHED INT64_C(-77)

/* Parse a copy of exact size, so that a read past its end is seen. */
static bool
parse(const char *text, size_t len, int64_t *ms)
{
	char	   *copy = malloc(len > 0 ? len : 1);
	bool		good;

	memcpy(copy, text, len);
	good = ut_datetime_parse(copy, len, ms);
	free(copy);
	return good;
}

/* What is taken, and as which point in time it comes back. */
static void
test_taken(void)
{
	static const char *const cases[][2] = {
		{"2031-05-06T07:08:09.123Z", "2031-05-06T07:08:09.123Z"},
		{"2031-05-06T07:08:09Z", "2031-05-06T07:08:09.000Z"},
		{"2031-05-06T07:08:09+02:00", "2031-05-06T05:08:09.000Z"},
		{"2031-05-06T07:08:09-0800", "2031-05-06T15:08:09.000Z"},
		{"2031-05-06T07:08:09-08:00", "2031-05-06T15:08:09.000Z"},
		{"2031-05-06T07:08:09+0530", "2031-05-06T01:38:09.000Z"},
		{"2031-05-06T07:08:09.5-00:00", "2031-05-06T07:08:09.500Z"},
		{"2031-05-06T07:08:09+23:59", "2031-05-05T07:09:09.000Z"},
		{"2031-05-06T07:08:09-2359", "2031-05-07T07:07:09.000Z"},
		{"2031-05-06T07:08:09.123456Z", "2031-05-06T07:08:09.123Z"},
		{"2031-05-06T07:08:09.1Z", "2031-05-06T07:08:09.100Z"},
		{"2031-05-06T07:08:09.12", "2031-05-06T07:08:09.120Z"},
		{"2031-05-06T07:08:09.0009Z", "2031-05-06T07:08:09.000Z"},
		{"2031-05-06T07:08:09.9999999999999999999999999999999999999+00:00",
		"2031-05-06T07:08:09.999Z"},
		{"2031-05-06 07:08:09Z", "2031-05-06T07:08:09.000Z"},
		{"2031-05-06t07:08:09z", "2031-05-06T07:08:09.000Z"},
		{"2031-05-06T07:08:09", "2031-05-06T07:08:09.000Z"},
		{"2031-01-02T03:04:05.678Z", "2031-01-02T03:04:05.678Z"},
		{"2020-01-01T00:00:00.000Z", "2020-01-01T00:00:00.000Z"},
		{"1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"},
		{"0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000Z"},
		{"0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"},
		{"9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000Z"},
		{"9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"},
		{"9999-12-31T23:59:59.9999Z", "9999-12-31T23:59:59.999Z"},
		{"0000-01-01T08:00:00+08:00", "0000-01-01T00:00:00.000Z"},
		{"9999-12-31T15:59:59-08:00", "9999-12-31T23:59:59.000Z"},
		{"2000-02-29T00:00:00Z", "2000-02-29T00:00:00.000Z"},
		{"0000-02-29T23:00:00-01:00", "0000-03-01T00:00:00.000Z"},
		{"2024-02-29T12:00:00Z", "2024-02-29T12:00:00.000Z"},
		{"2030-12-31T23:30:00-00:30", "2031-01-01T00:00:00.000Z"},
	};
	char		out[UT_DATETIME_LEN + 1];
	int64_t		ms;
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		ms = UNTOUCHED;
		CHECK_NOTE(parse(cases[i][0], strlen(cases[i][0]), &ms), cases[i][0]);
		ut_datetime_format(ms == UNTOUCHED ? 0 : ms, out);
		CHECK_NOTE(strcmp(out, cases[i][1]) == 0, cases[i][0]);
	}
}

static void
test_refused(void)
{
	static const char *const cases[] = {
		/* refused by the real server as well */
		"2031-05-06", "2031-05-06T07:08Z", "tomorrow", "May 6, 2031",
		"2031-02-30T00:00:00Z", "2031-13-01T00:00:00Z",
		"2031-05-06T25:00:00Z", "10000-01-01T00:00:00Z",
		"+010000-01-01T00:00:00Z", "-000001-01-01T00:00:00Z",
		"+275760-09-13T00:00:00.000Z", "1935990489123", "0", "true", "",
		"null",
		"2016-12-31T23:59:60Z", "2031-05-06T07:08:09+02",
		"2031-05-06T07:08:09+2400", "2031-05-06T07:08:09+24:00",
		"1900-02-29T00:00:00Z", "0000-01-01T00:00:00+08:00",
		"9999-12-31T23:59:59-08:00", "2031-05-06T07:08:09 Z",
		/* calendar and clock */
		"2100-02-29T00:00:00Z", "2023-02-29T00:00:00Z", "2031-04-31T00:00:00Z",
		"2031-06-31T00:00:00Z", "2031-09-31T00:00:00Z", "2031-11-31T00:00:00Z",
		"2031-01-32T00:00:00Z", "2031-12-32T00:00:00Z", "2031-05-00T00:00:00Z",
		"2031-00-01T00:00:00Z", "2031-05-06T24:00:00Z", "2031-05-06T07:60:00Z",
		"2031-05-06T07:08:60", "2031-05-06T07:08:61Z",
		"2031-05-06T07:08:09-00:60", "2031-05-06T07:08:09-0060",
		"0000-01-01T00:00:00+00:01", "9999-12-31T23:59:59.999-00:01",
		"9999-12-31T23:59:00-00:01",
		/* form */
		"2031-05-06T07:08:09.Z", "2031-05-06T07:08:09.",
		"2031-05-06T07:08:09,5Z",
		"2031-05-06T07:08:09.12x", "2031-05-06T07:08:09Zx",
		"2031-05-06T07:08:09ZZ", "2031-05-06T07:08:09+",
		"2031-05-06T07:08:09+0", "2031-05-06T07:08:09+02:",
		"2031-05-06T07:08:09+02:0", "2031-05-06T07:08:09+020",
		"2031-05-06T07:08:09+02:000", "2031-05-06T07:08:09+02-00",
		"2031-05-06T07:08:09+02::00", "2031-05-06T07:08:09 +02:00",
		"2031-05-06T07:08:09UTC", "2031-05-06  07:08:09Z",
		"2031-05-06\t07:08:09Z", "2031-05-06\n07:08:09Z",
		"2031-05-06_07:08:09Z", "2031-05-0607:08:09Z", " 2031-05-06T07:08:09Z",
		"2031-05-06T07:08:09Z ", "2031-05-06T07:08:09Z\n",
		"2031-5-06T07:08:09Z", "2031-05-6T07:08:09Z", "2031-05-06T7:08:09Z",
		"31-05-06T07:08:09Z", "2031/05/06T07:08:09Z", "20310506T070809Z",
		"2031-05-06T070809Z", "2031-05-06T07:08:9Z", "2031-05-06T07:08:09z0",
		"-2031-05-06T07:08:09Z", "+2031-05-06T07:08:09Z",
		"2031-W19-2T07:08:09Z", "2031-126T07:08:09Z",
		"2031-05-06T07:08:09\xe2\x88\x92" "08:00", "2031-05-06T-7:08:09Z",
		"\xd9\xa2" "031-05-06T07:08:09Z", "20:1-05-06T07:08:09Z",
		"2031-05-06T07:08:/9Z", "infinity", "-infinity", "now", "T", "Z",
	};
	int64_t		ms = UNTOUCHED;
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		CHECK_NOTE(!parse(cases[i], strlen(cases[i]), &ms), cases[i]);
		CHECK_NOTE(ms == UNTOUCHED, cases[i]);
		ms = UNTOUCHED;
	}
	CHECK(!ut_datetime_parse(NULL, 0, &ms));
	CHECK(!parse("2031-05-06T07:08:09\0", 20, &ms));
	CHECK(!parse("2031-05-06T07:08:09Z\0", 21, &ms));
	CHECK(ms == UNTOUCHED);
}

/* No beginning of a date-time is one, but for those the zone may follow. */
static void
test_cut_off(void)
{
	static const char text[] = "2031-05-06T07:08:09.123+02:00";
	int64_t		ms;
	size_t		len;

	for (len = 0; len < sizeof(text); len++)
	{
		bool		whole = len == 19 || (len >= 21 && len <= 23) || len == 29;

		CHECK_NOTE(parse(text, len, &ms) == whole, text + len);
	}
}

static int
month_days(int year, int month)
{
	static const int days[] =
	{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	if (month == 2 &&
		((year % 4 == 0 && year % 100 != 0) || year % 400 == 0))
		return 29;
	return days[month - 1];
}

/* One day's date as text and as number, both ways, at two times of the day. */
static void
check_day(int year, int month, int day, int64_t start)
{
	char		text[64];
	char		out[UT_DATETIME_LEN + 1];
	int64_t		ms = UNTOUCHED;

	snprintf(text, sizeof(text), "%04d-%02d-%02dT00:00:00.000Z",
			 year, month, day);
	CHECK_NOTE(parse(text, UT_DATETIME_LEN, &ms) && ms == start, text);
	ut_datetime_format(start, out);
	CHECK_NOTE(strcmp(out, text) == 0, text);

	memcpy(text + 11, "23:59:59.999", 12);
	ut_datetime_format(start + DAY - 1, out);
	CHECK_NOTE(strcmp(out, text) == 0, text);
}

/* Every day there is; and the day after each month's last is refused. */
static void
test_every_day(void)
{
	int64_t		start = UT_DATETIME_MIN;
	int64_t		ms;
	char		text[64];
	int			year;
	int			month;
	int			day;

	for (year = 0; year <= 9999; year++)
	{
		for (month = 1; month <= 12; month++)
		{
			for (day = 1; day <= month_days(year, month); day++)
			{
				check_day(year, month, day, start);
				start += DAY;
			}
			snprintf(text, sizeof(text), "%04d-%02d-%02dT00:00:00Z",
					 year, month, day);
			CHECK_NOTE(!parse(text, 20, &ms), text);
		}
	}
	CHECK(start == UT_DATETIME_MAX + 1);
}

/* The C library's calendar, at random milliseconds. */
static void
test_against_library(void)
{
	const uint64_t span = (uint64_t) (UT_DATETIME_MAX - UT_DATETIME_MIN) + 1;
	uint64_t	seed = 2;
	char		text[128];
	char		out[UT_DATETIME_LEN + 1];
	int64_t		ms;
	int64_t		again;
	struct tm	tm;
	time_t		second;
	int			i;

	for (i = 0; i < 200000; i++)
	{
		ms = UT_DATETIME_MIN + (int64_t) (unit_random(&seed) % span);
		second = (time_t) ((ms - UT_DATETIME_MIN) / 1000 +
						   UT_DATETIME_MIN / 1000);
		CHECK(gmtime_r(&second, &tm) != NULL);
		snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
				 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
				 tm.tm_hour, tm.tm_min, tm.tm_sec,
				 (int) (ms - (int64_t) second * 1000));
		ut_datetime_format(ms, out);
		CHECK_NOTE(strcmp(out, text) == 0, text);
		CHECK_NOTE(parse(text, UT_DATETIME_LEN, &again) && again == ms, text);
		CHECK_NOTE(timegm(&tm) == second, text);
	}
}

/* Every offset there is, taken from noon. */
static void
test_every_offset(void)
{
	char		text[64];
	int64_t		noon;
	int64_t		ms;
	int			hour;
	int			minute;

	CHECK(parse("2031-05-06T12:00:00Z", 20, &noon));
	for (hour = 0; hour < 100; hour++)
	{
		for (minute = 0; minute < 100; minute++)
		{
			int64_t		shift = (hour * 60 + minute) * INT64_C(60000);
			bool		good = hour <= 23 && minute <= 59;

			snprintf(text, sizeof(text), "2031-05-06T12:00:00+%02d:%02d",
					 hour, minute);
			CHECK_NOTE(parse(text, 25, &ms) == good, text);
			CHECK_NOTE(!good || ms == noon - shift, text);
			snprintf(text, sizeof(text), "2031-05-06T12:00:00-%02d%02d",
					 hour, minute);
			CHECK_NOTE(parse(text, 24, &ms) == good, text);
			CHECK_NOTE(!good || ms == noon + shift, text);
		}
	}
}

int
main(void)
{
	test_taken();
	test_refused();
	test_cut_off();
	test_every_day();
	test_against_library();
	test_every_offset();
	return unit_end();
}
