/*-------------------------------------------------------------------------
 *
 * datetime.c
 *	  How is a point in time written on the wire?
 *
 * Knows the calendar and nothing else: no clock, no time zone of the machine,
 * no token.  The calendar is counted from 0000-01-01, where UT_DATETIME_MIN
 * lies, so that no number on the way is negative.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "text/datetime.h"

#define MS_PER_SECOND 1000
#define MS_PER_MINUTE INT64_C(60000)
#define MS_PER_DAY INT64_C(86400000)
#define DAYS_PER_CYCLE 146097	/* the calendar repeats after 400 years */

/* The part of a text that is not read yet. */
typedef struct Cursor
{
	const char *at;				/* next character */
	const char *end;			/* behind the last one */
} Cursor;

static bool read_date(Cursor *in, int *day);
static bool read_time(Cursor *in, int *ms);
static bool read_fraction(Cursor *in, int *ms);
static bool read_zone(Cursor *in, int *minutes);
static bool take_number(Cursor *in, int digits, int *value);
static bool take_char(Cursor *in, char c);
static bool at_digit(const Cursor *in);
static int	year_start(int year);
static int	month_start(int year, int month);
static void put_number(char *out, int digits, int value);

bool
ut_datetime_parse(const char *text, size_t len, int64_t *ms)
{
	Cursor		in;
	int			day;
	int			ms_of_day;
	int			offset;
	int64_t		result;

	if (len == 0)
		return false;			/* text may be a null pointer */
	in.at = text;

	in.end = &text[len];

	if (!read_date(&in, &day) ||
		!(take_char(&in, 'T') || take_char(&in, 't') || take_char(&in, ' ')) ||
		!read_time(&in, &ms_of_day) ||
		!read_zone(&in, &offset) ||
		in.at != in.end)
		return false;

	result = UT_DATETIME_MIN + day * MS_PER_DAY + ms_of_day -
		offset * MS_PER_MINUTE;
	if (result < UT_DATETIME_MIN || result > UT_DATETIME_MAX)
		return false;			/* only its offset took it out of range */
	*ms = result;
	return true;
}

/* YYYY-MM-DD as the number of days since 0000-01-01. */
static bool
read_date(Cursor *in, int *day)
{
	int			year;
	int			month;
	int			mday;
	int			start;

	if (!take_number(in, 4, &year) || !take_char(in, '-') ||
		!take_number(in, 2, &month) || !take_char(in, '-') ||
		!take_number(in, 2, &mday))
		return false;
	if (month < 1 || month > 12)
		return false;

	start = month_start(year, month);
	if (mday < 1 || mday > month_start(year, month + 1) - start)
		return false;
	*day = year_start(year) + start + mday - 1;
	return true;
}

/* HH:MM:SS with or without a fraction, as milliseconds since midnight. */
static bool
read_time(Cursor *in, int *ms)
{
	int			hour;
	int			minute;
	int			second;
	int			fraction;

	if (!take_number(in, 2, &hour) || !take_char(in, ':') ||
		!take_number(in, 2, &minute) || !take_char(in, ':') ||
		!take_number(in, 2, &second) || !read_fraction(in, &fraction))
		return false;

	/* Second 60 too: Unleash takes no leap second, timestamptz has none. */
	if (hour > 23 || minute > 59 || second > 59)
		return false;
	*ms = ((hour * 60 + minute) * 60 + second) * MS_PER_SECOND + fraction;
	return true;
}

/*
 * Any number of decimals behind a dot, or nothing.  What is finer than a
 * millisecond is cut off: rounding up could carry into the next year.
 */
static bool
read_fraction(Cursor *in, int *ms)
{
	int			weight = MS_PER_SECOND / 10;

	*ms = 0;
	if (!take_char(in, '.'))
		return true;
	if (!at_digit(in))
		return false;
	while (at_digit(in))
	{
		*ms += (*in->at++ - '0') * weight;
		weight /= 10;
	}
	return true;
}

/* The offset from UTC in minutes; no zone at all is UTC. */
static bool
read_zone(Cursor *in, int *minutes)
{
	int			sign;
	int			hour;
	int			minute;

	*minutes = 0;
	if (in->at == in->end || take_char(in, 'Z') || take_char(in, 'z'))
		return true;

	if (take_char(in, '+'))
		sign = 1;
	else if (take_char(in, '-'))
		sign = -1;
	else
		return false;

	if (!take_number(in, 2, &hour))
		return false;
	(void) take_char(in, ':');
	if (!take_number(in, 2, &minute) || hour > 23 || minute > 59)
		return false;
	*minutes = sign * (hour * 60 + minute);
	return true;
}

/* Exactly so many digits; what follows them is not looked at. */
static bool
take_number(Cursor *in, int digits, int *value)
{
	*value = 0;
	while (digits-- > 0)
	{
		if (!at_digit(in))
			return false;
		*value = *value * 10 + (*in->at++ - '0');
	}
	return true;
}

static bool
take_char(Cursor *in, char c)
{
	if (in->at == in->end || *in->at != c)
		return false;
	in->at++;
	return true;
}

static bool
at_digit(const Cursor *in)
{
	return in->at < in->end && *in->at >= '0' && *in->at <= '9';
}

/*
 * Days from 0000-01-01 to the first of January of a year: 365 for each year
 * before it, and one more for each leap year among them (year 0 is one).
 */
static int
year_start(int year)
{
	return year * 365 +
		(year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
}

/* Days from the first of January to the first of a month, 13 = next year. */
static int
month_start(int year, int month)
{
	static const int start[] =
	{0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
	int			leap = year_start(year + 1) - year_start(year) - 365;

	return start[month - 1] + (month > 2 ? leap : 0);
}

void
ut_datetime_format(int64_t ms, char *out)
{
	int			day = (int) ((ms - UT_DATETIME_MIN) / MS_PER_DAY);
	int			rest = (int) ((ms - UT_DATETIME_MIN) % MS_PER_DAY);
	int			year = (int) (day * INT64_C(400) / DAYS_PER_CYCLE);
	int			month = 1;
	const char *form = "0000-00-00T00:00:00.000Z";
	int			i;

	/* Counted in years of average length the guess may be one off. */
	if (year_start(year) > day)
		year--;
	else if (year_start(year + 1) <= day)
		year++;
	day -= year_start(year);
	while (month < 12 && month_start(year, month + 1) <= day)
		month++;

	for (i = 0; i <= UT_DATETIME_LEN; i++)
		out[i] = form[i];
	put_number(out, 4, year);
	put_number(out + 5, 2, month);
	put_number(out + 8, 2, day - month_start(year, month) + 1);
	put_number(out + 11, 2, rest / (60 * 60 * MS_PER_SECOND));
	put_number(out + 14, 2, rest / (60 * MS_PER_SECOND) % 60);
	put_number(out + 17, 2, rest / MS_PER_SECOND % 60);
	put_number(out + 20, 3, rest % MS_PER_SECOND);
}

static void
put_number(char *out, int digits, int value)
{
	while (digits > 0)
	{
		out[--digits] = (char) ('0' + value % 10);
		value /= 10;
	}
}
