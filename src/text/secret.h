/*-------------------------------------------------------------------------
 *
 * secret.h
 *	  What does a secret look like?
 *
 * A secret reads <scope>:<environment>.v2_<selector>_<key>.  The selector is
 * public and finds the row; the key is what nobody else knows.  Those made
 * here carry the marker "utok" at the head of the selector and a CRC-32 at
 * the end of the key, so that the text alone tells a mistyped one.
 *
 * Pure C without postgres.h: it is fuzzed alone.  All text is UTF-8, lengths
 * are in bytes, nothing is allocated.  Random bytes and time are handed in.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_SECRET_H
#define UT_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UT_SELECTOR_LEN 22		/* characters of a selector */
#define UT_SELECTOR_MARKER "utok"	/* behind it stands the time, so that
									 * newer selectors are greater */
#define UT_SELECTOR_CHARACTERS "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-"
#define UT_KEY_LEN 43			/* characters of a key */
#define UT_SECRET_TAIL (4 + UT_SELECTOR_LEN + 1 + UT_KEY_LEN + 1)	/* ".v2_" to end */
#define UT_SECRET_MAX 4096		/* a longer text is no secret; Unleash's own
								 * have at most some hundred bytes */
#define UT_SECRET_RANDOM 128	/* random bytes that practically always do for
								 * one secret */

typedef enum UtSecretKind
{
	UT_SECRET_REFUSED,			/* cannot be a secret: empty, too long, or the
								 * marker without a right checksum */
	UT_SECRET_OWN,				/* made here: marker and checksum are right */
	UT_SECRET_V2,				/* Unleash's hashed form: found by selector */
	UT_SECRET_V1				/* any other text: found by its digest */
} UtSecretKind;

/*
 * Write "<prefix>.v2_<selector>_<key>" and a final NUL to out.  ms is the time
 * in milliseconds since 1970.  Returns the length without the NUL; 0 when out
 * is too small or the random bytes ran out (draw new ones and try again).
 */
extern size_t ut_secret_compose(char *out, size_t size,
								const char *prefix, size_t prefix_len,
								int64_t ms,
								const unsigned char *random, size_t nrandom);

/*
 * The same for a selector that is there already, which it may be found by with
 * another key.
 */
extern size_t ut_secret_compose_again(char *out, size_t size,
									  const char *prefix, size_t prefix_len,
									  const char *selector,
									  const unsigned char *random, size_t nrandom);

/*
 * A random selector of length UT_SELECTOR_LEN without the marker, for rows
 * that are found by their digest; not terminated.  False when the random
 * bytes ran out.
 */
extern bool ut_secret_anonymous_selector(char *out,
										 const unsigned char *random, size_t nrandom);

/*
 * Which kind of secret is text?  For OWN and V2 *selector points at the
 * UT_SELECTOR_LEN characters inside text, otherwise it is set to NULL.
 */
extern UtSecretKind ut_secret_parse(const char *text, size_t len,
									const char **selector);

/* Is text a selector by its form: 22 characters of A-Za-z0-9_- ? */
extern bool ut_secret_is_selector(const char *text, size_t len);

/* Does a selector carry the marker of the secrets made here? */
extern bool ut_secret_is_marked(const char *selector);

/* Compare two digests in a time that does not depend on their contents. */
extern bool ut_secret_equal(const unsigned char *a, const unsigned char *b, size_t len);

/*
 * Write text so that it may be shown: up to and with the selector for OWN and
 * V2, and "***" for the rest.  Anything else becomes "***" alone.  Returns the
 * length; 0 when out is too small.
 */
extern size_t ut_secret_mask(char *out, size_t size, const char *text, size_t len);

#endif							/* UT_SECRET_H */
