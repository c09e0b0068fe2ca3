/*-------------------------------------------------------------------------
 *
 * scope.c
 *	  What does a token reach?
 *
 * Knows no tables.  Takes no locks.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/scope.h"

static char *const all[] = {"*"};

char	   *const *
ut_scope_projects(const UtScope *scope, int *count)
{
	*count = scope->all ? 1 : scope->count;
	return scope->all ? all : scope->ids;
}

const char *
ut_scope_environment(const UtToken *token)
{
	return token->environment == NULL ? all[0] : token->environment;
}

bool
ut_scope_names(const UtScope *scope, const char *project)
{
	for (int i = 0; !scope->all && i < scope->count; i++)
	{
		if (strcmp(scope->ids[i], project) == 0)
			return true;
	}
	return false;
}

bool
ut_scope_reaches(const UtScope *scope, const char *project)
{
	return scope->all || ut_scope_names(scope, project);
}

bool
ut_scope_covers(const UtScope *outer, const UtScope *inner)
{
	if (outer->all || inner->all)
		return outer->all;
	for (int i = 0; i < inner->count; i++)
	{
		if (!ut_scope_names(outer, inner->ids[i]))
			return false;
	}
	return inner->count > 0;
}

bool
ut_scope_is_empty(const UtScope *scope)
{
	return !scope->all && scope->count == 0;
}
