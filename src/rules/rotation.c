/*-------------------------------------------------------------------------
 *
 * rules/rotation.c
 *	  How does a token get a new secret while the old one goes on?
 *
 * Nobody is locked out by an answer that was lost, or by a new secret that did
 * not reach its user: only a use of the new one ends the old one.  So nothing
 * here ends a secret unless the other one was used.
 *
 * Knows no SQL text and nothing of HTTP.
 *
 * Locking: the token, FOR UPDATE.  What its secrets were is looked up before,
 * so that of two who rotate at once the second one sees that he comes too late.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "rules/caller.h"
#include "rules/mint.h"
#include "rules/rotation.h"
#include "rules/service.h"
#include "rules/validity.h"
#include "store/store.h"
#include "usage/usage.h"

static bool
refuse_unknown(UtProblem *problem)
{
	return ut_problem_set(problem, UT_PROBLEM_TOKEN_UNKNOWN, NULL,
						  "No token has that selector or that secret.");
}

/* Has nobody changed the secrets since they were looked up? */
static bool
is_unchanged(const UtToken *before, const UtToken *after)
{
	return before->is_rotated == after->is_rotated &&
		memcmp(before->verifier, after->verifier, UT_VERIFIER_LEN) == 0 &&
		memcmp(before->next_verifier, after->next_verifier, UT_VERIFIER_LEN) == 0;
}

static bool
lock_token(const char *reference, const UtActor *actor, UtToken *token, UtProblem *problem)
{
	UtToken		before = {0};

	memset(token, 0, sizeof(UtToken));
	if (!ut_service_find(reference, actor, &before) || !ut_store_lock(before.selector, token) ||
		!ut_caller_manages(actor, &token->scope))
		return refuse_unknown(problem);
	ut_usage_overlay(token);
	return is_unchanged(&before, token) ||
		ut_problem_set(problem, UT_PROBLEM_ROTATION_RACE, NULL,
					   "Token %s has other secrets than a moment ago.", token->selector);
}

static bool
refuse_in_use(const UtToken *token, UtProblem *problem)
{
	return ut_problem_set(problem, UT_PROBLEM_ROTATION_GRACE, NULL,
						  "Token %s is in the grace of a rotation.", token->selector);
}

/* The new secret is in use, whether that is written or not, and the old one not gone yet. */
static bool
is_in_use(const UtToken *token, UtValidity validity)
{
	return validity == UT_VALIDITY_GRACE || (token->is_rotated && ut_validity_is_used(token));
}

static bool
check_begin(const UtToken *token, UtValidity validity, UtProblem *problem)
{
	if (token->expires_at != UT_TIME_UNSET && token->expires_at <= GetCurrentTimestamp())
		return ut_problem_set(problem, UT_PROBLEM_ROTATION_EXPIRED, NULL,
							  "Token %s has expired.", token->selector);
	return !is_in_use(token, validity) || refuse_in_use(token, problem);
}

bool
ut_rotation_begin(const char *reference, const UtRotate *rotate, const UtActor *actor,
				  UtToken *token, char **secret, UtProblem *problem)
{
	UtToken		before;
	UtValidity	validity;

	if (!ut_usage_is_noted())
		return ut_problem_set(problem, UT_PROBLEM_ROTATION_NOTES, NULL,
							  "The library is not in shared_preload_libraries.");
	if (!lock_token(reference, actor, &before, problem))
		return false;
	validity = ut_validity_of(&before);
	if (!check_begin(&before, validity, problem))
		return false;
	*token = before;
	token->is_rotated = true;
	token->activate_by = rotate->activate_by;
	token->old_until = UT_TIME_UNSET;
	*secret = ut_mint_next_secret(token);
	ut_store_set_rotation(token, &rotate->grace);
	ut_service_report("api-token-rotated", &before, token, actor);
	return true;
}

static bool
check_end(const UtToken *token, bool cancel, UtProblem *problem)
{
	UtValidity	validity = ut_validity_of(token);
	bool		is_used = validity == UT_VALIDITY_OVER || is_in_use(token, validity);

	if (!token->is_rotated || (validity == UT_VALIDITY_LAPSED && !is_used && !cancel))
		return ut_problem_set(problem, UT_PROBLEM_ROTATION_NONE, NULL,
							  "Token %s has one secret.", token->selector);
	if (cancel)
		return !is_used || refuse_in_use(token, problem);
	return is_used ||
		ut_problem_set(problem, UT_PROBLEM_ROTATION_UNUSED, NULL,
					   "The new secret of token %s waits for its first use.", token->selector);
}

bool
ut_rotation_end(const char *reference, bool cancel, const UtActor *actor,
				UtToken *token, UtProblem *problem)
{
	UtToken		before;

	if (!lock_token(reference, actor, &before, problem) || !check_end(&before, cancel, problem))
		return false;
	*token = before;
	token->is_rotated = false;
	ut_store_end_rotation(token->selector, cancel);
	ut_service_report(cancel ? "api-token-rotation-cancelled" : "api-token-rotation-finished",
					  &before, token, actor);
	return true;
}

bool
ut_rotation_permit(const UtToken *caller, const char *key, const char *reference, UtProblem *problem)
{
	bool		is_itself = strcmp(reference, caller->selector) == 0 || strcmp(reference, key) == 0;

	if (caller->type == UT_TOKEN_ADMIN || (caller->rotatable && is_itself))
		return true;
	return ut_problem_set(problem, UT_PROBLEM_NOT_ROTATABLE, NULL,
						  "The token in the header Authorization is of type %s.",
						  ut_token_type_names[caller->type]);
}
