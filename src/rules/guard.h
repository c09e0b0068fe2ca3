/*-------------------------------------------------------------------------
 *
 * guard.h
 *	  On behalf of which token does this transaction run?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_GUARD_H
#define UT_GUARD_H

#include "base/problem.h"
#include "base/token.h"
#include "usage/rate.h"

/* Follow the ends of transactions and savepoints; once, when the library is loaded. */
extern void ut_guard_init(void);

/*
 * Validate a secret and let the rest of the transaction run as its token, in
 * the role that guard_role has for it.  Problems: no valid token, no role,
 * another token before it, or one that is used too often or not from that
 * address (NULL: it is not known).  rate is as ut_limit_take() leaves it; a token
 * that the transaction runs for already is not counted again.  Errors: 25P01 outside a transaction block, 42501
 * where "role" cannot be set.  A problem leaves the transaction to be aborted.
 */
extern bool ut_guard_enter(const char *secret, size_t len, const uint8 *address,
						   UtRateState *rate, UtProblem *problem);

/* The token of this transaction; NULL when there is none.  Not to be changed. */
extern const UtToken *ut_guard_token(void);

/* Does it reach a project that exists, and that environment if one is given? */
extern bool ut_guard_reaches(const char *project, const char *environment);

#endif							/* UT_GUARD_H */
