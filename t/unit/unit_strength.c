/*-------------------------------------------------------------------------
 *
 * unit_strength.c
 *	  Tests of src/text/strength.c: secrets of a person are told from those of a
 *	  generator.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/text/strength.h"
#include "unit.h"

static double
bits(const char *secret)
{
	return ut_strength_bits(secret, strlen(secret));
}

static void
check_people(void)
{
	/* bits at most, far below the 128 that are asked for */
	static const struct
	{
		const char *secret;
		double		most;
	}			weak[] = {
		{"", 0}, {".", 0}, {"a.b.", 0}, {"1", 3.4},
		{"*:*.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 11},
		{"*:*.0123456701234567012345670123456701234567", 30},
		{"*:*.abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz", 40},
		{"default:development.correct-horse-battery-staple-and-more", 90},
		{"*:*.thisIsMyVeryOwnSecretTokenForUnleash", 100},
		{"a.my-super-long-frontend-token-for-production-use", 115},
		{"*:*.password", 21}, {"*:*.my-admin-token", 34},
		{"*:*.12345678901234567890123456789012", 40},
		{"default:development.unleash-insecure-api-token", 0},
		{"*:*.unleash-insecure-admin-api-token", 0},
		{"x.Unleash-Insecure-Frontend-API-token-2", 0}
	};

	for (size_t i = 0; i < sizeof(weak) / sizeof(weak[0]); i++)
		CHECK_NOTE(bits(weak[i].secret) <= weak[i].most, weak[i].secret);
}

/* As Unleash made them: 56 hexadecimal digits, and others of generators. */
static void
check_generators(void)
{
	static const char hex[] = "0123456789abcdef";
	static const char base62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	static const char small[] = "abcdefghijklmnopqrstuvwxyz";
	char		secret[80];
	int			taken_for_words = 0;

	srand(1);
	for (int i = 0; i < 20000; i++)
	{
		memcpy(secret, "*:*.", 5);
		for (int j = 4; j < 60; j++)
			secret[j] = hex[rand() % 16];
		secret[60] = '\0';
		CHECK_NOTE(bits(secret) >= 160, secret);
		CHECK_NOTE(bits(secret) <= 224.01, secret);
		for (int j = 4; j < 36; j++)
			secret[j] = base62[rand() % 62];
		secret[36] = '\0';
		taken_for_words += bits(secret) < 128;
		for (int j = 4; j < 44; j++)
			secret[j] = small[rand() % 26];
		secret[44] = '\0';
		taken_for_words += bits(secret) < 128;
	}
	/* chance writes words too: few enough to be named without need */
	CHECK(taken_for_words < 40);
}

int
main(void)
{
	check_people();
	check_generators();
	CHECK(ut_strength_is_published("unleash-insecure-", 17));
	CHECK(!ut_strength_is_published("unleash-insecure", 16));
	CHECK(!ut_strength_is_published("unleash-insecure-api-token.x", 28));
	return unit_end();
}
