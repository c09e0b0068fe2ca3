/*-------------------------------------------------------------------------
 *
 * fuzz_datetime.c
 *	  Does src/text/datetime.c keep its promises for any text and any time?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#define _POSIX_C_SOURCE 200809L /* gmtime_r */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../src/text/datetime.h"

#define UNTOUCHED INT64_MIN
#define MUST(condition) ((condition) ? (void) 0 : abort())

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The C library writes the same second. */
static void
check_library(int64_t ms, const char *out)
{
	time_t		second = (time_t) ((ms - UT_DATETIME_MIN) / 1000 +
								   UT_DATETIME_MIN / 1000);
	char		text[128];
	struct tm	tm;

	MUST(gmtime_r(&second, &tm) != NULL);
	snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
			 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
			 tm.tm_hour, tm.tm_min, tm.tm_sec,
			 (int) (ms - (int64_t) second * 1000));
	MUST(strcmp(text, out) == 0);
}

/* A written date-time has its form, its length and its own value again. */
static void
check_format(int64_t ms)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ";
	char	   *out = malloc(UT_DATETIME_LEN + 1);
	int64_t		again = UNTOUCHED;
	int			i;

	ut_datetime_format(ms, out);
	for (i = 0; i < UT_DATETIME_LEN; i++)
		MUST(form[i] == 'd' ? is_digit(out[i]) : out[i] == form[i]);
	MUST(out[UT_DATETIME_LEN] == '\0');
	MUST(ut_datetime_parse(out, UT_DATETIME_LEN, &again));
	MUST(again == ms);
	check_library(ms, out);
	free(out);
}

/* Text sorts as time does. */
static void
check_order(int64_t a, int64_t b)
{
	char		first[UT_DATETIME_LEN + 1];
	char		second[UT_DATETIME_LEN + 1];
	int			order;

	ut_datetime_format(a, first);
	ut_datetime_format(b, second);
	order = strcmp(first, second);
	MUST((order < 0) == (a < b) && (order > 0) == (a > b));
}

/* What was taken has at least a date, a separator and a time. */
static void
check_taken(const char *text, size_t len, int64_t ms)
{
	static const char form[] = "dddd-dd-dd?dd:dd:dd";
	size_t		i;

	MUST(len >= 19);
	for (i = 0; i < 19; i++)
	{
		if (form[i] == 'd')
			MUST(is_digit(text[i]));
		else if (form[i] != '?')
			MUST(text[i] == form[i]);
	}
	MUST(memcmp(text + 11, "23", 2) <= 0);
	MUST(text[14] <= '5' && text[17] <= '5');
	MUST(text[10] == 'T' || text[10] == 't' || text[10] == ' ');
	MUST(ms >= UT_DATETIME_MIN && ms <= UT_DATETIME_MAX);
	check_format(ms);
}

/* Neither the case nor the spelling of the separator matters. */
static void
check_spelling(const char *text, size_t len, bool taken, int64_t ms)
{
	static const char separators[] = "Tt ";
	char	   *copy = malloc(len);
	int64_t		again = UNTOUCHED;
	int			i;

	memcpy(copy, text, len);
	for (i = 0; i < 3; i++)
	{
		if (len <= 10 || strchr("Tt ", text[10]) == NULL || text[10] == '\0')
			break;
		copy[10] = separators[i];
		MUST(ut_datetime_parse(copy, len, &again) == taken);
		MUST(again == ms);
	}
	if (text[len - 1] == 'Z')
		copy[len - 1] = 'z';
	again = UNTOUCHED;
	MUST(ut_datetime_parse(copy, len, &again) == taken && again == ms);
	free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint64_t span = (uint64_t) (UT_DATETIME_MAX - UT_DATETIME_MIN) + 1;
	const char *text = (const char *) data;
	int64_t		ms = UNTOUCHED;
	bool		taken = ut_datetime_parse(text, size, &ms);
	uint64_t	times[2];

	MUST(taken == (ms != UNTOUCHED));
	if (taken)
		check_taken(text, size, ms);
	if (size > 0)
		check_spelling(text, size, taken, ms);
	if (size >= sizeof(times))
	{
		memcpy(times, data, sizeof(times));
		check_format(UT_DATETIME_MIN + (int64_t) (times[0] % span));
		check_order(UT_DATETIME_MIN + (int64_t) (times[0] % span),
					UT_DATETIME_MIN + (int64_t) (times[1] % span));
	}
	return 0;
}
