/*-------------------------------------------------------------------------
 *
 * caller.c
 *	  Who is asking, and may they?
 *
 * Knows nothing of bodies.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "caller.h"
#include "service.h"

bool
ut_caller_identify(const char *key, UtToken *caller, UtProblem *problem)
{
	if (key == NULL || *key == '\0')
		return ut_problem_set(problem, UT_PROBLEM_KEY_MISSING, NULL,
							  "The header Authorization is missing or empty.");
	if (!ut_service_validate(key, strlen(key), caller))
		return ut_problem_set(problem, UT_PROBLEM_KEY_REFUSED, NULL,
							  "The token in the header Authorization was refused.");
	return true;
}

bool
ut_caller_require_admin(const char *key, UtToken *caller, UtProblem *problem)
{
	if (!ut_caller_identify(key, caller, problem))
		return false;
	if (caller->type != UT_TOKEN_ADMIN)
		return ut_problem_set(problem, UT_PROBLEM_NOT_ADMIN, NULL,
							  "The token in the header Authorization is of type %s.",
							  ut_token_type_names[caller->type]);
	return true;
}

UtActor
ut_caller_token_actor(const UtToken *caller)
{
	return (UtActor) {.name = caller->name, .selector = caller->selector};
}

UtActor
ut_caller_sql_actor(void)
{
	return (UtActor) {.name = GetUserNameFromId(GetOuterUserId(), false)};
}
