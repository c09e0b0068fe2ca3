/*-------------------------------------------------------------------------
 *
 * secret.c
 *	  What does a secret look like?
 *
 * Knows the form of a secret and nothing else: no table, no digest, no HTTP,
 * no clock and no source of random bytes.  A secret is always taken apart
 * from its end, because names of projects and environments may hold ':', '.'
 * and '_'; the fixed lengths there leave only one way to read it.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "text/secret.h"

#define V2_OPENER ".v2_"
#define V2_OPENER_LEN 4
#define MARKER_LEN 4
#define TIME_LEN 7				/* digits of time behind the marker: 62^7 ms
								 * reach to August 2081 */
#define CHECK_LEN 6				/* digits of the checksum: 62^6 > 2^32 */
#define CHECKED_KEY_LEN (UT_KEY_LEN - CHECK_LEN)
#define TAIL_LEN (UT_SECRET_TAIL - 1)	/* ".v2_" to end, without the NUL */
#define BASE 62
#define FAIR_BYTES 248			/* 4 * BASE: below it every character is
								 * equally likely */
#define HIDDEN "***"
#define HIDDEN_LEN 3

static const char Base62[] =
"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/*
 * What a character is worth in base62; 62 for the two that only Unleash's own
 * secrets have, -1 for all others.  A table, since the characters of a secret
 * are random: no processor guesses what is a digit and what a letter.
 */
static const signed char CharValue[128] = {
	-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
	-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
	-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 62, -1, -1,
	0, 1, 2, 3, 4, 5, 6, 7, 8, 9, -1, -1, -1, -1, -1, -1,
	-1, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,
	25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, -1, -1, -1, -1, 62,
	-1, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50,
	51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, -1, -1, -1, -1, -1
};

/* The checksum of a byte that is followed by 0, 1, 2 or 3 others; made when first asked for. */
static uint32_t crc_of_byte[4][256];

/* Random bytes that were handed in, and how many of them are unused. */
typedef struct RandomBytes
{
	const unsigned char *next;	/* first unused byte */
	size_t		left;			/* number of unused bytes */
} RandomBytes;

static bool draw_base62(char *out, size_t n, RandomBytes *bytes);
static void write_base62(char *out, size_t n, uint64_t value);
static uint64_t read_base62(const char *text, size_t n);
static int	char_value(char c);
static bool is_base62(const char *text, size_t len);
static bool is_v2_text(const char *text, size_t len);
static const char *find_selector(const char *text, size_t len);
static bool is_own(const char *text, size_t len, const char *selector);
static uint32_t checksum(const char *text, size_t len);
static bool has_nul(const char *text, size_t len);

size_t
ut_secret_compose(char *out, size_t size,
				  const char *prefix, size_t prefix_len,
				  int64_t ms,
				  const unsigned char *random, size_t nrandom)
{
	RandomBytes bytes = {random, nrandom};
	char		selector[UT_SELECTOR_LEN];

	memcpy(selector, UT_SELECTOR_MARKER, MARKER_LEN);
	write_base62(selector + MARKER_LEN, TIME_LEN, ms < 0 ? 0 : (uint64_t) ms);
	if (!draw_base62(selector + MARKER_LEN + TIME_LEN,
					 UT_SELECTOR_LEN - MARKER_LEN - TIME_LEN, &bytes))
		return 0;
	return ut_secret_compose_again(out, size, prefix, prefix_len, selector, bytes.next, bytes.left);
}

size_t
ut_secret_compose_again(char *out, size_t size,
						const char *prefix, size_t prefix_len,
						const char *selector,
						const unsigned char *random, size_t nrandom)
{
	RandomBytes bytes = {random, nrandom};
	char	   *tail = out + prefix_len;
	char	   *key = tail + V2_OPENER_LEN + UT_SELECTOR_LEN + 1;
	char	   *check = key + CHECKED_KEY_LEN;

	/* What ut_secret_parse would refuse must not be made. */
	if (prefix_len > UT_SECRET_MAX - TAIL_LEN || has_nul(prefix, prefix_len) ||
		size < prefix_len + UT_SECRET_TAIL)
		return 0;

	if (prefix_len > 0)
		memcpy(out, prefix, prefix_len);
	memcpy(tail, V2_OPENER, V2_OPENER_LEN);
	memcpy(tail + V2_OPENER_LEN, selector, UT_SELECTOR_LEN);
	key[-1] = '_';
	if (!draw_base62(key, CHECKED_KEY_LEN, &bytes))
		return 0;
	write_base62(check, CHECK_LEN, checksum(out, (size_t) (check - out)));
	check[CHECK_LEN] = '\0';

	return prefix_len + TAIL_LEN;
}

bool
ut_secret_anonymous_selector(char *out,
							 const unsigned char *random, size_t nrandom)
{
	RandomBytes bytes = {random, nrandom};

	if (!draw_base62(out, UT_SELECTOR_LEN, &bytes))
		return false;

	/* All four are drawn anew, so that the other beginnings stay even. */
	while (ut_secret_is_marked(out))
	{
		if (!draw_base62(out, MARKER_LEN, &bytes))
			return false;
	}
	return true;
}

/*
 * Fill n characters; false when the bytes run out.  A byte from FAIR_BYTES on
 * is skipped: folding it in would favour the first characters.
 */
static bool
draw_base62(char *out, size_t n, RandomBytes *bytes)
{
	size_t		done = 0;

	while (done < n)
	{
		unsigned char byte;

		if (bytes->left == 0)
			return false;
		byte = *bytes->next++;
		bytes->left--;
		if (byte < FAIR_BYTES)
			out[done++] = Base62[byte % 62];
	}
	return true;
}

/* Write the last n digits of value: what is too large starts over at 0. */
static void
write_base62(char *out, size_t n, uint64_t value)
{
	while (n > 0)
	{
		out[--n] = Base62[value % 62];
		value /= 62;
	}
}

UtSecretKind
ut_secret_parse(const char *text, size_t len, const char **selector)
{
	const char *found;

	*selector = NULL;
	if (len == 0 || len > UT_SECRET_MAX || has_nul(text, len))
		return UT_SECRET_REFUSED;

	found = find_selector(text, len);
	if (found == NULL)
		return UT_SECRET_V1;

	if (!ut_secret_is_marked(found))
	{
		*selector = found;
		return UT_SECRET_V2;
	}
	if (!is_own(text, len, found))
		return UT_SECRET_REFUSED;

	*selector = found;
	return UT_SECRET_OWN;
}

bool
ut_secret_is_selector(const char *text, size_t len)
{
	return len == UT_SELECTOR_LEN && is_v2_text(text, len);
}

bool
ut_secret_is_marked(const char *selector)
{
	return memcmp(selector, UT_SELECTOR_MARKER, MARKER_LEN) == 0;
}

/* The selector inside a text of the v2 form, NULL for any other text. */
static const char *
find_selector(const char *text, size_t len)
{
	const char *opener;
	const char *selector;

	if (len < TAIL_LEN)
		return NULL;
	opener = &text[len - TAIL_LEN];
	selector = opener + V2_OPENER_LEN;

	if (memcmp(opener, V2_OPENER, V2_OPENER_LEN) != 0 ||
		!is_v2_text(selector, UT_SELECTOR_LEN) ||
		selector[UT_SELECTOR_LEN] != '_' ||
		!is_v2_text(selector + UT_SELECTOR_LEN + 1, UT_KEY_LEN))
		return NULL;
	return selector;
}

/*
 * Was a text with the marker made here?  The digits may spell a value above
 * 2^32 - 1; no checksum is equal to that, so it is refused without a test of
 * its own and each checksum has one spelling only.
 */
static bool
is_own(const char *text, size_t len, const char *selector)
{
	const char *key = selector + UT_SELECTOR_LEN + 1;
	size_t		checked = len - CHECK_LEN;

	return is_base62(selector, UT_SELECTOR_LEN) &&
		is_base62(key, UT_KEY_LEN) &&
		read_base62(&text[checked], CHECK_LEN) == checksum(text, checked);
}

/* Characters are told by their codes: no locale has a say in it. */
static int
char_value(char c)
{
	return (unsigned char) c < sizeof(CharValue) ? CharValue[(unsigned char) c] : -1;
}

static bool
is_base62(const char *text, size_t len)
{
	size_t		i;

	for (i = 0; i < len; i++)
	{
		if (char_value(text[i]) < 0 || char_value(text[i]) >= BASE)
			return false;
	}
	return true;
}

/* The characters of Unleash's own v2 secrets, base64url: '-' and '_' too. */
static bool
is_v2_text(const char *text, size_t len)
{
	size_t		i;

	for (i = 0; i < len; i++)
	{
		if (char_value(text[i]) < 0)
			return false;
	}
	return true;
}

/* All characters must be base62; n is so small that nothing overflows. */
static uint64_t
read_base62(const char *text, size_t n)
{
	uint64_t	value = 0;
	size_t		i;

	for (i = 0; i < n; i++)
		value = value * BASE + (uint64_t) char_value(text[i]);
	return value;
}

static void
make_crc_tables(void)
{
	for (uint32_t i = 0; i < 256; i++)
	{
		uint32_t	crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ ((crc & 1) ? 0xEDB88320 : 0);
		crc_of_byte[0][i] = crc;
	}
	for (int k = 1; k < 4; k++)
		for (int i = 0; i < 256; i++)
			crc_of_byte[k][i] = (crc_of_byte[k - 1][i] >> 8) ^ crc_of_byte[0][crc_of_byte[k - 1][i] & 255];
}

/* CRC-32/ISO-HDLC, the one of zip and Ethernet, four bytes at a time. */
static uint32_t
checksum(const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *) text;
	uint32_t	crc = 0xFFFFFFFF;

	if (crc_of_byte[0][1] == 0)
		make_crc_tables();
	for (; len >= 4; len -= 4, p += 4)
		crc = crc_of_byte[3][(crc ^ p[0]) & 255] ^ crc_of_byte[2][((crc >> 8) ^ p[1]) & 255] ^
			crc_of_byte[1][((crc >> 16) ^ p[2]) & 255] ^ crc_of_byte[0][(crc >> 24) ^ p[3]];
	for (; len > 0; len--, p++)
		crc = (crc >> 8) ^ crc_of_byte[0][(crc ^ *p) & 255];
	return crc ^ 0xFFFFFFFF;
}

/* memchr() must not see the null pointer that may stand for an empty text. */
static bool
has_nul(const char *text, size_t len)
{
	return len > 0 && memchr(text, '\0', len) != NULL;
}

bool
ut_secret_equal(const unsigned char *a, const unsigned char *b, size_t len)
{
	volatile unsigned char differences = 0;
	size_t		i;

	/* Volatile, so that no compiler ends the loop at the first difference. */
	for (i = 0; i < len; i++)
		differences |= a[i] ^ b[i];
	return differences == 0;
}

size_t
ut_secret_mask(char *out, size_t size, const char *text, size_t len)
{
	const char *selector;
	size_t		shown = 0;

	/* A text of no known form may be a key as a whole: show none of it. */
	(void) ut_secret_parse(text, len, &selector);
	if (selector != NULL)
		shown = UT_SELECTOR_LEN + (size_t) (selector - text);

	if (size < shown + HIDDEN_LEN + 1)
		return 0;
	if (shown > 0)
		memcpy(out, text, shown);
	memcpy(out + shown, HIDDEN, HIDDEN_LEN + 1);
	return shown + HIDDEN_LEN;
}
