/*-------------------------------------------------------------------------
 *
 * unit_secret_change.c
 *	  Is no slip taken for a secret, and is every character equally likely?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "secrets.h"

#define SECRETS 1000			/* changed in every place */
#define KEYS 20000				/* drawn for the chi-square test */
#define CHI_SQUARE_61_MAX 120.0 /* exceeded once in 100,000 fair draws */

/* What a change in one place may make of a secret made here. */
static bool
is_right_change(size_t at, size_t len, UtSecretKind kind)
{
	size_t		from_end = len - at;

	if (from_end <= TAIL && from_end > TAIL - 4)	/* .v2_ */
		return kind == UT_SECRET_V1;
	if (from_end <= TAIL - 4 && from_end > TAIL - 8)	/* utok */
		return kind == UT_SECRET_V2;
	if (from_end == UT_KEY_LEN + 1) /* _ */
		return kind == UT_SECRET_V1;
	return kind == UT_SECRET_REFUSED;
}

/* Every character of a secret replaced by every other one. */
static unsigned long
mutate(char *text, size_t len)
{
	unsigned long tried = 0;
	const char *selector;
	size_t		at;
	int			i;

	for (at = 0; at < len; at++)
	{
		char		was = text[at];

		for (i = 0; i < 62; i++)
		{
			UtSecretKind kind;

			if (Digits[i] == was)
				continue;
			text[at] = Digits[i];
			kind = ut_secret_parse(text, len, &selector);
			CHECK_NOTE(is_right_change(at, len, kind), text);
			tried++;
		}
		text[at] = was;
	}
	return tried;
}

static void
test_mutations(void)
{
	static const char *const prefixes[] = {
		"*:development", "default:production", "[]:development", "*:*", "",
		"a:b:c:d.e.f", "x_v2_y:z.v2_w", ".v2_:.v2_", "utok:utok.v2_utok",
		"gr\xc3\xbc\xc3\x9f:\xe6\x97\xa5\xe6\x9c\xac", "\xf0\x9f\x94\x91:e",
		"a b:c d", "p.v2_" SELECTOR "_" KEY ":e", "\xff\xfe:\x80"
	};
	const int	nprefixes = sizeof(prefixes) / sizeof(prefixes[0]);
	unsigned long tried = 0;
	char		out[256];
	int			i;

	for (i = 0; i < SECRETS; i++)
	{
		const char *prefix = prefixes[i % nprefixes];
		size_t		len = compose(out, sizeof(out), prefix);

		CHECK(len == strlen(prefix) + TAIL);
		CHECK_NOTE(kind_of(out, len) == UT_SECRET_OWN, out);
		tried += mutate(out, len);
	}
	printf("%lu mutations of %d secrets\n", tried, SECRETS);
}

/* Two neighbours swapped, one lost, one too many: the usual slips. */
static void
test_slips(void)
{
	char		good[256];
	char		text[256];
	size_t		len;
	size_t		at;
	int			i;

	for (i = 0; i < SECRETS; i++)
	{
		len = compose(good, sizeof(good), "shop:production");
		for (at = 0; at + 1 < len; at++)
		{
			memcpy(text, good, len);
			text[at] = good[at + 1];
			text[at + 1] = good[at];
			CHECK_NOTE(good[at] == good[at + 1] ||
					   kind_of(text, len) != UT_SECRET_OWN, text);
			memcpy(text, good, at);
			memcpy(text + at, good + at + 1, len - at - 1);
			CHECK_NOTE(kind_of(text, len - 1) != UT_SECRET_OWN, text);
			memcpy(text, good, at + 1);
			memcpy(text + at + 1, good + at, len - at);
			CHECK_NOTE(kind_of(text, len + 1) != UT_SECRET_OWN, text);
		}
	}
}

/* Is every character as likely as every other one? */
static bool
is_fair(const unsigned long counts[128])
{
	double		total = 0;
	double		chi = 0;
	double		mean;
	int			i;

	for (i = 0; i < 62; i++)
		total += (double) counts[(int) Digits[i]];
	mean = total / 62;
	for (i = 0; i < 62; i++)
	{
		double		off = (double) counts[(int) Digits[i]] - mean;

		chi += off * off / mean;
	}
	printf("chi-square %.1f (at most %.0f) of %.0f characters\n",
		   chi, CHI_SQUARE_61_MAX, total);
	return chi < CHI_SQUARE_61_MAX;
}

static void
test_uniformity(void)
{
	unsigned long of_keys[128] = {0};
	unsigned long of_selectors[128] = {0};
	unsigned long of_anonymous[128] = {0};
	unsigned char bytes[UT_SECRET_RANDOM];
	char		out[128];
	int			i;
	int			at;

	for (i = 0; i < KEYS; i++)
	{
		CHECK(compose(out, sizeof(out), "") == TAIL);
		for (at = 15; at < 26; at++)
			of_selectors[(int) out[at]]++;
		for (at = 27; at < 64; at++)
			of_keys[(int) out[at]]++;
		fill_random(bytes, sizeof(bytes));
		CHECK(ut_secret_anonymous_selector(out, bytes, sizeof(bytes)));
		for (at = 0; at < UT_SELECTOR_LEN; at++)
			of_anonymous[(int) out[at]]++;
	}
	CHECK(is_fair(of_keys));
	CHECK(is_fair(of_selectors));
	CHECK(is_fair(of_anonymous));
}

int
main(void)
{
	test_mutations();
	test_slips();
	test_uniformity();
	return unit_end();
}
