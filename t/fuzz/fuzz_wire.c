/*-------------------------------------------------------------------------
 *
 * fuzz_wire.c
 *	  Does src/text/wire.c keep its promises for any text?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../src/text/wire.h"

#define MUST(condition) ((condition) ? (void) 0 : abort())

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* before, text and after in one block of exact size. */
static char *
join(const char *before, const char *text, size_t len, const char *after)
{
	size_t		head = strlen(before);
	size_t		tail = strlen(after);
	char	   *all = malloc(head + len + tail + 1);

	memcpy(all, before, head);
	if (len > 0)
		memcpy(all + head, text, len);
	memcpy(all + head + len, after, tail + 1);
	return all;
}

static UtMedia
media_with(const char *before, const char *text, size_t len,
		   const char *after)
{
	char	   *all = join(before, text, len, after);
	UtMedia		answer;

	answer = ut_wire_media(all, strlen(before) + len + strlen(after));
	free(all);
	return answer;
}

/* Blanks around a header change nothing, and the last charset decides. */
static void
check_media(const char *text, size_t len)
{
	UtMedia		answer = ut_wire_media(text, len);
	bool		other = answer == UT_MEDIA_OTHER;

	MUST(media_with(" \t", text, len, "\t ") == answer);
	MUST(media_with("", text, len, ";") == answer);
	MUST(media_with("", text, len, "; a=\"b\"") == answer);
	MUST(media_with("", text, len, ";charset=UTF-8") ==
		 (other ? UT_MEDIA_OTHER : UT_MEDIA_JSON));
	MUST(media_with("", text, len, " ; Charset=\"x\"") ==
		 (other ? UT_MEDIA_OTHER : UT_MEDIA_CHARSET));
	if (!other)
	{
		MUST(len >= 16);
		MUST(media_with("", text, len, ", text/plain") == UT_MEDIA_OTHER);
		MUST(media_with("x", text, len, "") == UT_MEDIA_OTHER);
		MUST(memchr(text, '\0', len) == NULL);
	}

	/* The input as parameters, so that they are reached at once. */
	MUST(media_with("application/json;charset=x;", text, len, ";charset=utf8")
		 != UT_MEDIA_CHARSET);
	MUST(media_with("application/json;", text, len, ";charset=x")
		 != UT_MEDIA_JSON);
}

/* The case of no letter matters. */
static void
check_case(const char *text, size_t len)
{
	char	   *copy = join("", text, len, "");
	size_t		i;

	for (i = 0; i < len; i++)
	{
		if (copy[i] >= 'a' && copy[i] <= 'z')
			copy[i] = (char) (copy[i] - 'a' + 'A');
	}
	MUST(ut_wire_media(copy, len) == ut_wire_media(text, len));
	MUST(ut_wire_is_identity(copy, len) == ut_wire_is_identity(text, len));
	free(copy);
}

/* May this text be unescaped?  By the letter of the RFC, in another way. */
static bool
is_escaped_well(const char *text, size_t len)
{
	static const char digits[] = "0123456789abcdefABCDEF";
	size_t		i;

	for (i = 0; i < len; i++)
	{
		if (text[i] == '\0')
			return false;
		if (text[i] != '%')
			continue;
		if (i + 2 >= len || !memchr(digits, text[i + 1], 22) ||
			!memchr(digits, text[i + 2], 22))
			return false;
		if (text[i + 1] == '0' && text[i + 2] == '0')
			return false;
	}
	return true;
}

/* Escape every byte of a text and undo it: the same text again. */
static void
check_round_trip(const char *text, size_t len)
{
	char	   *escaped = malloc(3 * len + 1);
	size_t		outlen;
	size_t		i;

	for (i = 0; i < len; i++)
		snprintf(escaped + 3 * i, 4, i % 2 ? "%%%02x" : "%%%02X",
				 (unsigned) (unsigned char) text[i]);
	MUST(ut_wire_unescape(escaped, 3 * len, escaped, &outlen));
	MUST(outlen == len && memcmp(escaped, text, len) == 0);
	free(escaped);
}

static void
check_unescape(const char *text, size_t len)
{
	char	   *out = malloc(len + 1);
	char	   *same = join("", text, len, "");
	size_t		outlen = SIZE_MAX;
	size_t		same_len = SIZE_MAX;
	bool		good = ut_wire_unescape(text, len, out, &outlen);

	MUST(good == is_escaped_well(text, len));
	MUST(ut_wire_unescape(same, len, same, &same_len) == good);
	MUST(outlen == same_len);
	if (good)
	{
		MUST(outlen <= len && out[outlen] == '\0' && strlen(out) == outlen);
		MUST(memcmp(out, same, outlen) == 0);
		check_round_trip(out, outlen);
	}
	else
		MUST(outlen == SIZE_MAX);
	free(out);
	free(same);
}

/* Where "&name=" first stands, with an '&' put before the query. */
static void
check_query(const char *query, size_t len, const char *name)
{
	char	   *all = join("&", query, len, "");
	char	   *wanted = join("&", name, strlen(name), "=");
	size_t		wanted_len = strlen(wanted);
	size_t		valuelen = SIZE_MAX;
	const char *value = ut_wire_query(query, len, name, &valuelen);
	size_t		at = 0;

	while (at + wanted_len <= len + 1 &&
		   memcmp(all + at, wanted, wanted_len) != 0)
		at++;
	if (at + wanted_len > len + 1)
		MUST(value == NULL && valuelen == SIZE_MAX);
	else
	{
		MUST(value == query + at + wanted_len - 1);
		MUST(valuelen <= len - (size_t) (value - query));
		MUST(valuelen == 0 || memchr(value, '&', valuelen) == NULL);
		MUST(value + valuelen == query + len || value[valuelen] == '&');
	}
	free(all);
	free(wanted);
}

static void
check_path(const char *target, size_t len)
{
	size_t		path_len = ut_wire_path_len(target, len);

	MUST(path_len <= len);
	MUST(path_len == 0 || (memchr(target, '?', path_len) == NULL &&
						   memchr(target, '#', path_len) == NULL));
	MUST(path_len == len || target[path_len] == '?' ||
		 target[path_len] == '#');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *) data;

	check_media(text, size);
	check_case(text, size);
	check_unescape(text, size);
	check_path(text, size);
	check_query(text, size, "a");
	check_query(text, size, "limit");
	if (ut_wire_is_identity(text, size) && size > 0)
		MUST(memchr(text, '\0', size) == NULL &&
			 memchr(text, ',', size) == NULL);
	return 0;
}
