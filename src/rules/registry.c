/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  How do projects and environments come and go?
 *
 * The rules of names are those of the tables' checks, said so that whoever sent
 * one knows what was wrong; what becomes of the tokens the tables' triggers and
 * foreign keys do, whoever writes.
 *
 * Locking: the row that is renamed or deleted FOR UPDATE, so that no token is
 * made for it meanwhile.
 *
 * Knows no SQL text and nothing of HTTP.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "rules/field.h"
#include "rules/registry.h"

#define MAX_NAME 100			/* characters, as the tables have it */

/* Of both, and of the type of an environment. */
static bool
check_length(const char *what, const char *name, UtProblem *problem)
{
	int			chars = name == NULL ? 0 : pg_mbstrlen(name);

	if (name == NULL)
		return ut_problem_set(problem, UT_PROBLEM_REGISTRY_NAME, NULL, "The %s is NULL.", what);
	if (chars == 0)
		return ut_problem_set(problem, UT_PROBLEM_REGISTRY_NAME, NULL, "The %s is empty.", what);
	if (chars > MAX_NAME)
		return ut_problem_set(problem, UT_PROBLEM_REGISTRY_NAME, NULL,
							  "The %s has %d characters, which is more than %d: %s.",
							  what, chars, MAX_NAME, ut_field_show(name, strlen(name)));
	return true;
}

static bool
check_name(const char *what, const char *name, UtProblem *problem)
{
	const char *fault;

	if (!check_length(what, name, problem))
		return false;
	if (strcmp(name, "*") == 0 || strcmp(name, "[]") == 0)
		return ut_problem_set(problem, UT_PROBLEM_REGISTRY_NAME, NULL,
							  "The %s is %s, which has another meaning in secrets.", what, name);
	fault = ut_field_find_control(name);
	if (fault != NULL && *fault == '\0')
		return ut_problem_set(problem, UT_PROBLEM_REGISTRY_NAME, NULL,
							  "The %s holds a character that has no form in UTF-8.", what);
	if (fault != NULL)
		return ut_problem_set(problem, UT_PROBLEM_REGISTRY_NAME, NULL,
							  "The %s holds the control character %s.", what, fault);
	return true;
}

bool
ut_registry_create_project(const char *id, bool *made, UtProblem *problem)
{
	if (!check_name("id of the project", id, problem))
		return false;
	*made = ut_store_add_project(id);
	return true;
}

bool
ut_registry_create_environment(const char *name, const char *type, bool enabled,
							   bool *made, UtProblem *problem)
{
	if (!check_name("name of the environment", name, problem) ||
		!check_length("type of the environment", type, problem))
		return false;
	*made = ut_store_add_environment(name, type, enabled);
	return true;
}

bool
ut_registry_rename(UtRegistry registry, const char *from, const char *to,
				   bool *found, UtProblem *problem)
{
	bool		is_project = registry == UT_REGISTRY_PROJECT;

	if (!check_name("new name", to, problem))
		return false;
	*found = from != NULL && ut_store_hold_name(registry, from);
	if (!*found || strcmp(from, to) == 0)
		return true;
	if (is_project ? ut_store_has_project(to) : ut_store_has_environment(to))
		return ut_problem_set(problem, UT_PROBLEM_REGISTRY_TAKEN, NULL, "There is %s %s.",
							  is_project ? "a project" : "an environment", ut_field_show(to, strlen(to)));
	ut_store_rename(registry, from, to);
	return true;
}

bool
ut_registry_delete(UtRegistry registry, const char *name, bool *found, UtProblem *problem)
{
	char	   *selector;

	*found = name != NULL && ut_store_hold_name(registry, name);
	if (!*found)
		return true;
	selector = registry == UT_REGISTRY_ENVIRONMENT ? ut_store_find_of_environment(name) : NULL;
	if (selector != NULL)
		return ut_problem_set(problem, UT_PROBLEM_ENVIRONMENT_USED, NULL,
							  "Token %s belongs to the environment %s.", selector, ut_field_show(name, strlen(name)));
	ut_store_remove_name(registry, name);
	return true;
}
