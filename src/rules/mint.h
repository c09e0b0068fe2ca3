/*-------------------------------------------------------------------------
 *
 * rules/mint.h
 *	  How does a token come by its secret?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_MINT_H
#define UT_MINT_H

#include "base/token.h"
#include "rules/request.h"

/* Make of what was asked for a token that has no secret yet: made now, never seen. */
extern void ut_mint_token(const UtCreate *create, UtToken *token);

/*
 * Draw a selector and a key for a token whose scope, environment and
 * created_at are set: its selector and verifier are filled in, and the secret is
 * returned, in the server's encoding.  It is the only copy there will ever be.
 * Errors: 22P05 when a name has no form in UTF-8, 54000 when the secret would
 * be longer than UT_SECRET_MAX bytes, XX000 without random bytes.
 */
extern char *ut_mint_secret(UtToken *token);

/*
 * Draw another key for the selector of a token: its next_verifier is filled in.
 * Otherwise the same.
 */
extern char *ut_mint_next_secret(UtToken *token);

#endif							/* UT_MINT_H */
