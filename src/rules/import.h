/*-------------------------------------------------------------------------
 *
 * import.h
 *	  How do the tokens of another Unleash come in?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_IMPORT_H
#define UT_IMPORT_H

#include "utils/jsonb.h"

#include "base/problem.h"
#include "base/token.h"

/*
 * Take in what Unleash's GET list returns: {"tokens":[...]} or the array.  An
 * element has a secret, or a selector and its verifier (base64url).  What
 * cannot come in is named in the report; the rest comes in.  Problems: not a
 * list, or more tokens than the limit allows (then the caller must raise, so
 * that nothing stays).
 */
extern bool ut_import_tokens(Jsonb *body, const UtActor *actor,
							 Jsonb **report, UtProblem *problem);

#endif							/* UT_IMPORT_H */
