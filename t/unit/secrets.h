/*-------------------------------------------------------------------------
 *
 * secrets.h
 *	  What do the tests of src/text/secret.c share?
 *
 * The checksum and the digits are computed here once more, in the slowest
 * and plainest way, so that a fault in the product cannot hide in its test.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_SECRETS_H
#define UT_SECRETS_H

#include <stdlib.h>
#include <string.h>

#include "../../src/text/secret.h"
#include "unit.h"

#define TAIL 70					/* ".v2_" 22 "_" 43 */

static const char Digits[] =
"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* For the shape alone: 22 and 43 characters. */
#define SELECTOR "AZaz09-_AZaz09-_AZaz09"
#define KEY "-_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcde"

static uint64_t seed = 1;

static inline void
fill_random(unsigned char *bytes, size_t n)
{
	size_t		i;

	for (i = 0; i < n; i++)
		bytes[i] = (unsigned char) (unit_random(&seed) >> 32);
}

/* One bit after the other, as the standard writes it. */
static inline uint32_t
bitwise_crc(const char *text, size_t len)
{
	uint32_t	crc = 0xFFFFFFFF;
	size_t		i;
	int			bit;

	for (i = 0; i < len; i++)
	{
		crc ^= (unsigned char) text[i];
		for (bit = 0; bit < 8; bit++)
			crc = (crc & 1) ? (crc >> 1) ^ 0xEDB88320 : crc >> 1;
	}
	return ~crc;
}

/* Put the n digits of value at text. */
static inline void
put_digits(char *text, int n, uint64_t value)
{
	while (n-- > 0)
	{
		text[n] = Digits[value % 62];
		value /= 62;
	}
}

/* Put the right checksum at the end of a text. */
static inline void
sign(char *text, size_t len)
{
	put_digits(text + len - 6, 6, bitwise_crc(text, len - 6));
}

/* Parse a copy of exact size, so that a read past its end is seen. */
static inline UtSecretKind
kind_of(const char *text, size_t len)
{
	char	   *copy = malloc(len > 0 ? len : 1);
	const char *selector;
	UtSecretKind kind;

	if (len > 0)
		memcpy(copy, text, len);
	kind = ut_secret_parse(copy, len, &selector);
	if (kind == UT_SECRET_OWN || kind == UT_SECRET_V2)
		CHECK(selector == copy + len - TAIL + 4);
	else
		CHECK(selector == NULL);
	free(copy);
	return kind;
}

static inline size_t
compose(char *out, size_t size, const char *prefix)
{
	unsigned char bytes[UT_SECRET_RANDOM];

	fill_random(bytes, sizeof(bytes));
	return ut_secret_compose(out, size, prefix, strlen(prefix),
							 (int64_t) (unit_random(&seed) % 3000000000000),
							 bytes, sizeof(bytes));
}

#endif							/* UT_SECRETS_H */
