/*-------------------------------------------------------------------------
 *
 * rules/validity.h
 *	  Which of a token's secrets count now?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_VALIDITY_H
#define UT_VALIDITY_H

#include "base/token.h"

/* How far a rotation has come, by what is written. */
typedef enum UtValidity
{
	UT_VALIDITY_ONE,			/* there is none: the one secret */
	UT_VALIDITY_PENDING,		/* both; the new one was not used yet */
	UT_VALIDITY_LAPSED,			/* the old one: the new one was not used in
								 * time */
	UT_VALIDITY_GRACE,			/* both, the old one for some time */
	UT_VALIDITY_OVER			/* the new one */
} UtValidity;

extern UtValidity ut_validity_of(const UtToken *token);

/* As answers name it. */
extern const char *ut_validity_name(UtValidity validity);

/* Is a use of the new secret noted that is not written yet? */
extern bool ut_validity_is_used(const UtToken *token);

/*
 * Is this the digest of a secret that counts now?  Sets token->used when it is
 * that of a new secret which waits for its first use.  Takes the same time for
 * whatever is none of the token's digests.
 */
extern bool ut_validity_accepts(UtToken *token, const uint8 *verifier);

#endif							/* UT_VALIDITY_H */
