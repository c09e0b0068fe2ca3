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

#include "rules/caller.h"
#include "rules/service.h"

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

static UtTokenType
family(UtTokenType type)
{
	return type == UT_TOKEN_BACKEND ? UT_TOKEN_CLIENT : type;
}

bool
ut_caller_reaches_project(const UtToken *caller, const char *project)
{
	for (int i = 0; i < caller->scope.count; i++)
	{
		if (strcmp(caller->scope.ids[i], project) == 0)
			return true;
	}
	return caller->scope.all;
}

bool
ut_caller_require(const UtToken *caller, const UtNeed *need, UtProblem *problem)
{
	if (need->has_type && family(need->type) != family(caller->type))
		return ut_problem_set(problem, UT_PROBLEM_NOT_COVERED, NULL,
							  "The token is of type %s.", ut_token_type_names[caller->type]);
	if (need->project != NULL && !ut_caller_reaches_project(caller, need->project))
		return ut_problem_set(problem, UT_PROBLEM_NOT_COVERED, NULL,
							  "The token does not reach the project.");
	if (need->environment != NULL && caller->environment != NULL &&
		strcmp(need->environment, caller->environment) != 0)
		return ut_problem_set(problem, UT_PROBLEM_NOT_COVERED, NULL,
							  "The token belongs to another environment.");
	return true;
}

UtActor
ut_caller_token_actor(const UtToken *caller)
{
	UtActor		actor;

	actor.name = caller->name;
	actor.selector = caller->selector;
	return actor;
}

UtActor
ut_caller_sql_actor(void)
{
	UtActor		actor;

	actor.name = GetUserNameFromId(GetOuterUserId(), false);
	actor.selector = NULL;
	return actor;
}
