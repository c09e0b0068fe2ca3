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

#include "base/scope.h"
#include "rules/caller.h"
#include "rules/field.h"
#include "rules/limit.h"
#include "rules/service.h"
#include "store/store.h"

bool
ut_caller_identify(const UtKey *key, UtToken *caller, UtRateState *rate, UtProblem *problem)
{
	if (key->text == NULL || *key->text == '\0')
		return ut_problem_set(problem, UT_PROBLEM_KEY_MISSING, NULL,
							  "The header Authorization is missing or empty.");
	if (!ut_service_validate_from(key->text, strlen(key->text), key->address, caller))
		return ut_problem_set(problem, UT_PROBLEM_KEY_REFUSED, NULL,
							  "The token in the header Authorization was refused.");
	return ut_limit_take(caller, rate, problem);
}

bool
ut_caller_require_admin(const UtKey *key, UtToken *caller, UtRateState *rate, UtProblem *problem)
{
	if (key->text == NULL || *key->text == '\0')
		return ut_problem_set(problem, UT_PROBLEM_KEY_MISSING, NULL,
							  "The header Authorization is missing or empty; it takes a token of type admin here.");
	if (!ut_caller_identify(key, caller, rate, problem))
		return false;
	if (caller->type != UT_TOKEN_ADMIN)
		return ut_problem_set(problem, UT_PROBLEM_NOT_ADMIN, NULL,
							  "The token in the header Authorization is of type %s.",
							  ut_token_type_names[caller->type]);
	return true;
}

bool
ut_caller_require_all(const UtToken *caller, UtProblem *problem)
{
	return caller->scope.all ||
		ut_problem_set(problem, UT_PROBLEM_ALL_PROJECTS, NULL,
					   "The calling token manages %d projects, and this is of all.", caller->scope.count);
}

/* The types of the token's family. */
static uint32
family(UtTokenType type)
{
	return type == UT_TOKEN_CLIENT || type == UT_TOKEN_BACKEND ?
		UT_TYPE_BIT(UT_TOKEN_CLIENT) | UT_TYPE_BIT(UT_TOKEN_BACKEND) : UT_TYPE_BIT(type);
}

/* What the token has itself exists; a table is asked for anything else. */
static bool
check_registries(const UtNeed *need, bool own_project, bool own_environment, UtProblem *problem)
{
	if (need->project != NULL && !own_project && !ut_store_has_project(need->project))
		return ut_problem_set(problem, UT_PROBLEM_PROJECT_UNKNOWN, NULL, "There is no project %s.",
							  ut_field_show(need->project, strlen(need->project)));
	if (need->environment != NULL && !own_environment && !ut_store_has_environment(need->environment))
		return ut_problem_set(problem, UT_PROBLEM_ENVIRONMENT_UNKNOWN, NULL, "There is no environment %s.",
							  ut_field_show(need->environment, strlen(need->environment)));
	return true;
}

bool
ut_caller_require(const UtToken *caller, const UtNeed *need, UtProblem *problem)
{
	bool		own_project = need->project != NULL && ut_scope_names(&caller->scope, need->project);
	bool		own_environment = need->environment != NULL && caller->environment != NULL &&
		strcmp(need->environment, caller->environment) == 0;

	if (!check_registries(need, own_project, own_environment, problem))
		return false;
	if (need->types != 0 && (need->types & family(caller->type)) == 0)
		return ut_problem_set(problem, UT_PROBLEM_NOT_COVERED, NULL,
							  "The token is of type %s.", ut_token_type_names[caller->type]);
	if (need->project != NULL && !ut_scope_reaches(&caller->scope, need->project))
		return ut_problem_set(problem, UT_PROBLEM_NOT_COVERED, NULL,
							  "The token does not reach the project.");
	if (need->environment != NULL && !own_environment && caller->environment != NULL)
		return ut_problem_set(problem, UT_PROBLEM_NOT_COVERED, NULL,
							  "The token belongs to another environment.");
	return true;
}

bool
ut_caller_manages(const UtActor *actor, const UtScope *scope)
{
	return actor->bounds == NULL || ut_scope_covers(actor->bounds, scope);
}

/* The same words for a project that is not there and for one of others. */
bool
ut_caller_require_bounds(const UtActor *actor, const UtScope *scope, UtProblem *problem)
{
	if (ut_caller_manages(actor, scope))
		return true;
	for (int i = 0; i < scope->count; i++)
	{
		if (!ut_scope_names(actor->bounds, scope->ids[i]))
			return ut_problem_set(problem, UT_PROBLEM_BOUNDS, "/body/projects",
								  "The calling token does not manage the project %s.",
								  ut_field_show(scope->ids[i], strlen(scope->ids[i])));
	}
	return ut_problem_set(problem, UT_PROBLEM_BOUNDS, "/body/projects",
						  "You asked for all projects; the calling token manages %d of them.",
						  actor->bounds->count);
}

UtActor
ut_caller_token_actor(const UtToken *caller)
{
	UtActor		actor = {.name = caller->name,.selector = caller->selector};

	if (!caller->scope.all)
		actor.bounds = &caller->scope;
	return actor;
}

UtActor
ut_caller_sql_actor(void)
{
	UtActor		actor = {.name = GetUserNameFromId(GetOuterUserId(), false)};

	return actor;
}
