/*-------------------------------------------------------------------------
 *
 * unit_secret.c
 *	  Does src/text/secret.c make, tell apart and hide secrets as designed?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "secrets.h"

#define SECRETS 1000			/* masked */

/* The exact text for given bytes: order of drawing, skipping, all digits. */
static void
test_exact_text(void)
{
	static const char expected[] =
	"p:e.v2_utok000001A0123456789A_"
	"BCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijkz";
	unsigned char bytes[52];
	char		out[128];
	size_t		len;
	size_t		i;

	/* 0, then 248, 250, 252 and 255 to be skipped, then 1 to 46, then 247 */
	bytes[0] = 0;
	for (i = 0; i < 4; i++)
		bytes[1 + i] = (unsigned char) (248 + i * 2 + i / 3);
	for (i = 1; i < 47; i++)
		bytes[4 + i] = (unsigned char) i;
	bytes[51] = 247;

	len = ut_secret_compose(out, sizeof(out), "p:e", 3, 72, bytes, 52);
	CHECK(len == 3 + TAIL);
	CHECK(strlen(out) == len);
	CHECK_NOTE(memcmp(out, expected, sizeof(expected) - 1) == 0, out);
	CHECK(len - 6 == sizeof(expected) - 1);
	CHECK(kind_of(out, len) == UT_SECRET_OWN);

	/* One byte fewer does not suffice. */
	CHECK(ut_secret_compose(out, sizeof(out), "p:e", 3, 72, bytes, 51) == 0);
	CHECK(ut_secret_compose(out, sizeof(out), "p:e", 3, 72, NULL, 0) == 0);
}

/* The published check value of CRC-32/ISO-HDLC, then the product's. */
static void
test_checksum(void)
{
	char		out[256];
	char		copy[256];
	size_t		len;
	int			i;

	CHECK(bitwise_crc("123456789", 9) == 0xCBF43926);
	for (i = 0; i < 1000; i++)
	{
		len = compose(out, sizeof(out), i % 2 ? "123456789" : "\xff\x80\x01");
		memcpy(copy, out, len);
		sign(copy, len);
		CHECK_NOTE(memcmp(copy, out, len) == 0, out);
	}
}

/* A value above 2^32 - 1 is the checksum of nothing, whatever its low bits. */
static void
test_large_checksum(void)
{
	char		out[256];
	size_t		len = compose(out, sizeof(out), "*:development");
	uint32_t	crc = bitwise_crc(out, len - 6);
	uint64_t	wraps;

	for (wraps = 1; ((wraps << 32) | crc) < UINT64_C(56800235584); wraps++)
	{
		put_digits(out + len - 6, 6, (wraps << 32) | crc);
		CHECK(kind_of(out, len) == UT_SECRET_REFUSED);
	}
	CHECK(wraps > 12);
	memcpy(out + len - 6, "zzzzzz", 6);
	CHECK(kind_of(out, len) == UT_SECRET_REFUSED);
	sign(out, len);
	CHECK(kind_of(out, len) == UT_SECRET_OWN);
}

/*
 * '-' must not count as a digit of -1: it would be a second spelling of a
 * checksum that ends in 'z'.
 */
static void
test_second_spelling(void)
{
	char		out[256];
	size_t		len;
	int			i;

	for (i = 0; i < 1000; i++)
	{
		len = compose(out, sizeof(out), "*:development");
		if (out[len - 1] != 'z')
			continue;
		put_digits(out + len - 6, 5, (bitwise_crc(out, len - 6) + 1) / 62);
		out[len - 1] = '-';
		CHECK_NOTE(kind_of(out, len) == UT_SECRET_REFUSED, out);
	}
}

static void
test_time_order(void)
{
	static const unsigned char bytes[UT_SECRET_RANDOM] = {0};
	static const int64_t times[] = {
		0, 1, 61, 62, 1000000000, INT64_C(1795455700156),
		INT64_C(1795455700157), INT64_C(3521614606207)
	};
	char		before[128] = "";
	char		out[128];
	size_t		i;

	for (i = 0; i < sizeof(times) / sizeof(times[0]); i++)
	{
		CHECK(ut_secret_compose(out, sizeof(out), "", 0, times[i],
								bytes, sizeof(bytes)) == TAIL);
		CHECK_NOTE(i == 0 || strcmp(before, out) < 0, out);
		CHECK(kind_of(out, TAIL) == UT_SECRET_OWN);
		memcpy(before, out, sizeof(before));
	}
	CHECK(memcmp(out, ".v2_utokzzzzzzz", 15) == 0);

	/* A clock before 1970 counts as 1970. */
	CHECK(ut_secret_compose(out, sizeof(out), "", 0, INT64_MIN,
							bytes, sizeof(bytes)) == TAIL);
	CHECK(memcmp(out, ".v2_utok0000000", 15) == 0);

	/* After August 2081 the digits start over, and it is still a secret. */
	CHECK(ut_secret_compose(out, sizeof(out), "", 0, INT64_C(3521614606209),
							bytes, sizeof(bytes)) == TAIL);
	CHECK(memcmp(out, ".v2_utok0000001", 15) == 0);
	CHECK(kind_of(out, TAIL) == UT_SECRET_OWN);
}

static void
test_room(void)
{
	unsigned char bytes[UT_SECRET_RANDOM];
	char		prefix[UT_SECRET_MAX];
	char		out[UT_SECRET_MAX + 10];
	char	   *exact = malloc(5 + UT_SECRET_TAIL);

	fill_random(bytes, sizeof(bytes));
	memset(prefix, 'p', sizeof(prefix));

	CHECK(ut_secret_compose(exact, 5 + UT_SECRET_TAIL, prefix, 5, 1,
							bytes, sizeof(bytes)) == 5 + TAIL);
	CHECK(exact[5 + TAIL] == '\0');
	CHECK(ut_secret_compose(exact, 5 + UT_SECRET_TAIL - 1, prefix, 5, 1,
							bytes, sizeof(bytes)) == 0);
	CHECK(ut_secret_compose(exact, 0, prefix, 5, 1,
							bytes, sizeof(bytes)) == 0);
	free(exact);

	/* What would be refused afterwards is not made. */
	CHECK(ut_secret_compose(out, sizeof(out), prefix, UT_SECRET_MAX - TAIL, 1,
							bytes, sizeof(bytes)) == UT_SECRET_MAX);
	CHECK(kind_of(out, UT_SECRET_MAX) == UT_SECRET_OWN);
	CHECK(ut_secret_compose(out, sizeof(out), prefix, UT_SECRET_MAX - TAIL + 1,
							1, bytes, sizeof(bytes)) == 0);
	CHECK(ut_secret_compose(out, sizeof(out), prefix, SIZE_MAX,
							1, bytes, sizeof(bytes)) == 0);
	CHECK(ut_secret_compose(out, sizeof(out), "a\0b", 3,
							1, bytes, sizeof(bytes)) == 0);
}

/* Texts that were not made here. */
static void
test_kinds(void)
{
	static const struct
	{
		const char *text;
		UtSecretKind kind;
	}			cases[] = {
		{"x", UT_SECRET_V1},
		{"*:*.golden-admin-secret", UT_SECRET_V1},
		{"*:development.e71bc94a2a0b0d90c402d91ff23622d3f5ad99ba6c70011e5742",
		UT_SECRET_V1},
		{"[]:e.v2_" SELECTOR "_" KEY, UT_SECRET_V2},
		{".v2_" SELECTOR "_" KEY, UT_SECRET_V2},
		{"v2_" SELECTOR "_" KEY, UT_SECRET_V1},
		{"a:b.v2_" SELECTOR "_" KEY "_" KEY, UT_SECRET_V1},
		{"a.v2_" SELECTOR "_" KEY ".v2_" SELECTOR "_" KEY, UT_SECRET_V2},
		{"a:b.v3_" SELECTOR "_" KEY, UT_SECRET_V1},
		{"a:b.V2_" SELECTOR "_" KEY, UT_SECRET_V1},
		{"a:b:v2_" SELECTOR "_" KEY, UT_SECRET_V1},
		{"a:b.v2-" SELECTOR "_" KEY, UT_SECRET_V1},
		{"a:b.v2_" SELECTOR "-" KEY, UT_SECRET_V1},
		{"a:b.v2_" SELECTOR "_" KEY " ", UT_SECRET_V1},
		{"a:b.v2_" SELECTOR "_" KEY "\n", UT_SECRET_V1},
		{"a:b.v2_AZaz09-_AZ+z09-_AZaz09_" KEY, UT_SECRET_V1},
		{"a:b.v2_" SELECTOR "_=" KEY, UT_SECRET_V1},
		{"a:b.v2_" SELECTOR "_=_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcde",
		UT_SECRET_V1},
		{"a:b.v2_" SELECTOR "_-_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcd+",
		UT_SECRET_V1},
		{"a:b.v2_Utok09-_AZaz09-_AZaz09_" KEY, UT_SECRET_V2},
		{"a:b.v2_xutok9-_AZaz09-_AZaz09_" KEY, UT_SECRET_V2},
		{"a:b.v2_utok09-_AZaz09-_AZaz09_" KEY, UT_SECRET_REFUSED},
		{"utok", UT_SECRET_V1},
	};
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		CHECK_NOTE(kind_of(cases[i].text, strlen(cases[i].text)) ==
				   cases[i].kind, cases[i].text);

	CHECK(kind_of("", 0) == UT_SECRET_REFUSED);
	CHECK(kind_of("\0", 1) == UT_SECRET_REFUSED);
	CHECK(kind_of("a\0b", 3) == UT_SECRET_REFUSED);
	CHECK(kind_of("abc\0", 4) == UT_SECRET_REFUSED);
	CHECK(kind_of("\0.v2_" SELECTOR "_" KEY, 1 + TAIL) == UT_SECRET_REFUSED);
}

static void
test_longest(void)
{
	char		text[UT_SECRET_MAX + 1];

	memset(text, 'a', sizeof(text));
	CHECK(kind_of(text, UT_SECRET_MAX) == UT_SECRET_V1);
	CHECK(kind_of(text, UT_SECRET_MAX + 1) == UT_SECRET_REFUSED);
	memcpy(text + UT_SECRET_MAX - TAIL, ".v2_" SELECTOR "_" KEY, TAIL);
	CHECK(kind_of(text, UT_SECRET_MAX) == UT_SECRET_V2);
	CHECK(kind_of(text + 1, UT_SECRET_MAX) != UT_SECRET_V2);
}

/*
 * The marker with a right checksum, but '-' or '_' in the random part: nobody
 * made that, although its checksum says so.
 */
static void
test_foreign_character(void)
{
	char		good[128];
	char		text[128];
	size_t		len = compose(good, sizeof(good), "*:production");
	size_t		at;

	for (at = len - TAIL + 8; at < len - 6; at++)
	{
		if (at == len - 44)
			continue;			/* the '_' before the key */
		memcpy(text, good, len);
		text[at] = at % 2 ? '-' : '_';
		sign(text, len);
		CHECK_NOTE(kind_of(text, len) == UT_SECRET_REFUSED, text);
	}
	for (at = len - 6; at < len; at++)
	{
		memcpy(text, good, len);
		text[at] = at % 2 ? '-' : '_';
		CHECK_NOTE(kind_of(text, len) == UT_SECRET_REFUSED, text);
	}
}

static void
test_anonymous(void)
{
	/* u t o k, then 18 times 'z', then u t o k again, then 1 2 3 4 */
	unsigned char bytes[30] = {56, 55, 50, 46};
	char		out[UT_SELECTOR_LEN];

	memset(bytes + 4, 61, 18);
	memcpy(bytes + 22, bytes, 4);
	bytes[26] = 1;
	bytes[27] = 2;
	bytes[28] = 3;
	bytes[29] = 4;

	CHECK(ut_secret_anonymous_selector(out, bytes, 30));
	CHECK(memcmp(out, "1234zzzzzzzzzzzzzzzzzz", UT_SELECTOR_LEN) == 0);
	CHECK(!ut_secret_is_marked(out));
	CHECK(ut_secret_is_selector(out, UT_SELECTOR_LEN));
	CHECK(!ut_secret_anonymous_selector(out, bytes, 29));
	CHECK(!ut_secret_anonymous_selector(out, bytes, 22));
	CHECK(!ut_secret_anonymous_selector(out, bytes + 4, 21));
	CHECK(ut_secret_anonymous_selector(out, bytes + 4, 22));
}

static void
test_selector(void)
{
	int			c;
	char		text[UT_SELECTOR_LEN + 1] = SELECTOR;

	CHECK(ut_secret_is_selector(SELECTOR, 22));
	CHECK(!ut_secret_is_selector(SELECTOR, 21));
	CHECK(!ut_secret_is_selector(SELECTOR "A", 23));
	CHECK(!ut_secret_is_selector("", 0));
	for (c = 0; c < 256; c++)
	{
		bool		good = c != 0 && strchr("-_", c) != NULL;

		good = good || (c != 0 && strchr(Digits, c) != NULL);
		text[UT_SELECTOR_LEN - 1] = (char) c;
		CHECK(ut_secret_is_selector(text, UT_SELECTOR_LEN) == good);
	}
	CHECK(ut_secret_is_marked("utok000000000000000000"));
	CHECK(!ut_secret_is_marked("utoK000000000000000000"));
	CHECK(!ut_secret_is_marked("0utok00000000000000000"));
}

static void
test_equal(void)
{
	unsigned char a[32];
	unsigned char b[32];
	int			bit;

	fill_random(a, sizeof(a));
	memcpy(b, a, sizeof(b));
	CHECK(ut_secret_equal(a, b, sizeof(a)));
	CHECK(ut_secret_equal(a, b, 0));
	for (bit = 0; bit < 256; bit++)
	{
		b[bit / 8] ^= (unsigned char) (1 << bit % 8);
		CHECK(!ut_secret_equal(a, b, sizeof(a)));
		b[bit / 8] ^= (unsigned char) (1 << bit % 8);
	}
	b[31] ^= 1;
	CHECK(ut_secret_equal(a, b, 31));

	/* Two differences must not cancel each other out. */
	b[0] ^= 1;
	CHECK(!ut_secret_equal(a, b, sizeof(a)));
}

static void
check_mask(const char *text, size_t len, const char *expected)
{
	size_t		expected_len = strlen(expected);
	char	   *out = malloc(expected_len + 1);

	CHECK_NOTE(ut_secret_mask(out, expected_len + 1, text, len) ==
			   expected_len, text);
	CHECK_NOTE(strcmp(out, expected) == 0, text);
	CHECK_NOTE(ut_secret_mask(out, expected_len, text, len) == 0, text);
	CHECK(ut_secret_mask(out, 0, text, len) == 0);
	free(out);
}

static void
test_mask(void)
{
	char		text[256];
	char		expected[256];
	size_t		len;
	int			i;

	check_mask("", 0, "***");
	check_mask("a\0b", 3, "***");
	check_mask("*:development.e71bc94a2a0b0d90", 30, "***");
	check_mask("a_v2_:b.v2_" SELECTOR "_" KEY, 7 + TAIL,
			   "a_v2_:b.v2_" SELECTOR "***");
	check_mask("a:b.v2_utok09-_AZaz09-_AZaz09_" KEY, 3 + TAIL, "***");
	for (i = 0; i < SECRETS; i++)
	{
		len = compose(text, sizeof(text), "a_b.c:d_e.v2_f");
		memcpy(expected, text, len - UT_KEY_LEN - 1);
		strcpy(expected + len - UT_KEY_LEN - 1, "***");
		check_mask(text, len, expected);
		text[len - 1] = text[len - 1] == 'a' ? 'b' : 'a';
		check_mask(text, len, "***");
	}
}

int
main(void)
{
	test_exact_text();
	test_checksum();
	test_large_checksum();
	test_second_spelling();
	test_time_order();
	test_room();
	test_kinds();
	test_longest();
	test_foreign_character();
	test_anonymous();
	test_selector();
	test_equal();
	test_mask();
	return unit_end();
}
