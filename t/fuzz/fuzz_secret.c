/*-------------------------------------------------------------------------
 *
 * fuzz_secret.c
 *	  Does src/text/secret.c keep its promises for any text and any bytes?
 *
 * An input is tried as a text to be parsed and masked; and, taken apart into
 * time, place of a change, prefix and random bytes, as a secret to be made.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../src/text/secret.h"

#define TAIL 70					/* ".v2_" 22 "_" 43 */
#define DRAWN (11 + 37)			/* random characters of a secret */
#define MUST(condition) ((condition) ? (void) 0 : abort())

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One bit after the other: slower and plainer than the product's. */
static uint32_t
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

static uint64_t
digits_value(const char *text, size_t n)
{
	static const char digits[] =
	"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	uint64_t	value = 0;
	size_t		i;

	for (i = 0; i < n; i++)
	{
		const char *found = memchr(digits, text[i], 62);

		MUST(found != NULL);
		value = value * 62 + (uint64_t) (found - digits);
	}
	return value;
}

/* A masked text is its beginning up to the selector and "***", or "***". */
static void
check_mask(const char *text, size_t len, const char *selector)
{
	size_t		shown = selector ? (size_t) (selector - text) + 22 : 0;
	char	   *out = malloc(shown + 4);

	MUST(ut_secret_mask(out, shown + 4, text, len) == shown + 3);
	MUST(shown == 0 || memcmp(out, text, shown) == 0);
	MUST(strcmp(out + shown, "***") == 0);
	MUST(ut_secret_mask(out, shown + 3, text, len) == 0);
	free(out);
}

static UtSecretKind
check_text(const char *text, size_t len)
{
	const char *selector = text;
	UtSecretKind kind = ut_secret_parse(text, len, &selector);

	if (kind == UT_SECRET_OWN || kind == UT_SECRET_V2)
	{
		MUST(len >= TAIL && selector == text + len - TAIL + 4);
		MUST(memcmp(selector - 4, ".v2_", 4) == 0 && selector[22] == '_');
		MUST(ut_secret_is_selector(selector, 22));
		MUST(ut_secret_is_marked(selector) == (kind == UT_SECRET_OWN));
	}
	else
		MUST(selector == NULL);
	if (kind == UT_SECRET_OWN)
		MUST(digits_value(text + len - 6, 6) == bitwise_crc(text, len - 6));
	if (kind != UT_SECRET_REFUSED)
		MUST(len > 0 && len <= UT_SECRET_MAX && !memchr(text, '\0', len));
	check_mask(text, len, selector);
	return kind;
}

/* Change one byte of a secret made here: it is never one afterwards. */
static void
check_change(char *secret, size_t len, size_t at, char now)
{
	const char	was = secret[at % len];

	if (was == now)
		return;
	secret[at % len] = now;
	MUST(check_text(secret, len) != UT_SECRET_OWN);
	secret[at % len] = was;
}

/* How many bytes give a character? */
static size_t
count_fair(const uint8_t *bytes, size_t n)
{
	size_t		fair = 0;

	while (n-- > 0)
		fair += bytes[n] < 248;
	return fair;
}

static void
check_compose(const uint8_t *data, size_t size)
{
	uint64_t	ms;
	size_t		prefix_len = data[8] % (size - 11);
	const uint8_t *bytes = data + 11 + prefix_len;
	size_t		nbytes = size - 11 - prefix_len;
	const char *prefix = (const char *) data + 11;
	char	   *out = malloc(prefix_len + TAIL + 1);
	size_t		len;

	memcpy(&ms, data, sizeof(ms));
	ms %= UINT64_C(3521614606208);
	len = ut_secret_compose(out, prefix_len + TAIL + 1, prefix, prefix_len,
							(int64_t) ms, bytes, nbytes);
	MUST((len > 0) == (count_fair(bytes, nbytes) >= DRAWN &&
					   memchr(prefix, '\0', prefix_len) == NULL));
	if (len > 0)
	{
		MUST(len == prefix_len + TAIL && out[len] == '\0');
		MUST(prefix_len == 0 || memcmp(out, prefix, prefix_len) == 0);
		MUST(check_text(out, len) == UT_SECRET_OWN);
		MUST(digits_value(out + prefix_len + 8, 7) == ms);
		check_change(out, len, data[9], (char) data[10]);
		MUST(ut_secret_compose(out, len, prefix, prefix_len,
							   (int64_t) ms, bytes, nbytes) == 0);
	}
	free(out);
}

static void
check_anonymous(const uint8_t *data, size_t size)
{
	char		out[UT_SELECTOR_LEN];

	if (ut_secret_anonymous_selector(out, data, size))
	{
		MUST(ut_secret_is_selector(out, sizeof(out)));
		MUST(!ut_secret_is_marked(out));
		(void) digits_value(out, sizeof(out) / 2);
		(void) digits_value(out + sizeof(out) / 2, sizeof(out) / 2);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	(void) check_text((const char *) data, size);
	check_anonymous(data, size);
	if (size > 11)
		check_compose(data, size);
	if (size % 2 == 0 && size > 0)
	{
		bool		same = memcmp(data, data + size / 2, size / 2) == 0;

		MUST(ut_secret_equal(data, data + size / 2, size / 2) == same);
	}
	return 0;
}
