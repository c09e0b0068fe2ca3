/*-------------------------------------------------------------------------
 *
 * crypto.c
 *	  Where do digests and random bytes come from?
 *
 * Knows no token and no table.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "miscadmin.h"
#include "port.h"

#include "base/crypto.h"

StaticAssertDecl(UT_VERIFIER_LEN == PG_SHA256_DIGEST_LENGTH,
				 "a verifier is a SHA-256 digest");

void
ut_crypto_verifier(const char *text, size_t len, uint8 *out)
{
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);

	if (ctx == NULL ||
		pg_cryptohash_init(ctx) < 0 ||
		pg_cryptohash_update(ctx, (const uint8 *) text, len) < 0 ||
		pg_cryptohash_final(ctx, out, UT_VERIFIER_LEN) < 0)
	{
		pg_cryptohash_free(ctx);
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute a SHA-256 digest")));
	}
	pg_cryptohash_free(ctx);
}

/*
 * A source that is stuck says that all is well and gives one byte again and
 * again: secrets from it could be guessed, and some bytes make none at all, so
 * that a caller would draw for ever.
 */
static bool
is_stuck(const unsigned char *buf, size_t len)
{
	return len >= 16 && memcmp(buf, buf + 1, len - 1) == 0;
}

void
ut_crypto_random(unsigned char *buf, size_t len)
{
	if (!pg_strong_random(buf, len) || is_stuck(buf, len))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random bytes for a secret"),
				 errhint("Nothing was stored. Look at the server's source of randomness.")));
}
