/*-------------------------------------------------------------------------
 *
 * rules/rotation.h
 *	  How does a token get a new secret while the old one goes on?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_ROTATION_H
#define UT_ROTATION_H

#include "base/problem.h"
#include "base/token.h"
#include "rules/request.h"

/*
 * Give the token that reference (a selector or a full secret) names a new
 * secret, of which *secret is the only copy there will ever be.  Refused: uses
 * are not noted, there is no such token, another one was faster, the token has
 * expired, or an earlier new secret is in use.
 */
extern bool ut_rotation_begin(const char *reference, const UtRotate *rotate, const UtActor *actor,
							  UtToken *token, char **secret, UtProblem *problem);

/*
 * End its rotation: the old secret goes, or (cancel) the new one.  Refused:
 * there is no such token or no rotation, the one that would stay was never
 * used, or (cancel) the one that would go was.
 */
extern bool ut_rotation_end(const char *reference, bool cancel, const UtActor *actor,
							UtToken *token, UtProblem *problem);

/*
 * May the token of this key rotate the one that reference names?  An admin token
 * may with any, another one with itself when it was made rotatable, by its
 * selector or by that key: no table is asked which tokens there are.
 */
extern bool ut_rotation_permit(const UtToken *caller, const char *key, const char *reference,
							   UtProblem *problem);

#endif							/* UT_ROTATION_H */
