/*-------------------------------------------------------------------------
 *
 * crypto.h
 *	  Where do digests and random bytes come from?
 *
 * From the server: pg_cryptohash and pg_strong_random.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_CRYPTO_H
#define UT_CRYPTO_H

#include "base/token.h"

/*
 * The verifier of a secret: SHA-256 of its UTF-8 bytes, UT_VERIFIER_LEN bytes
 * to out.  text is in UTF-8 already.
 */
extern void ut_crypto_verifier(const char *text, size_t len, uint8 *out);

/*
 * Fill buf with strong random bytes; an ERROR (XX000) when there are none:
 * no secret is ever made from less.
 */
extern void ut_crypto_random(unsigned char *buf, size_t len);

#endif							/* UT_CRYPTO_H */
