/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  What can SQL call of projects and environments?
 *
 * Each unpacks its arguments, calls a room of the rules and packs the result.
 * Knows no SQL text.  Locking: none of its own.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "http/promise.h"
#include "rules/registry.h"

PG_FUNCTION_INFO_V1(unleash_tokens_create_project);
PG_FUNCTION_INFO_V1(unleash_tokens_rename_project);
PG_FUNCTION_INFO_V1(unleash_tokens_delete_project);
PG_FUNCTION_INFO_V1(unleash_tokens_create_environment);
PG_FUNCTION_INFO_V1(unleash_tokens_rename_environment);
PG_FUNCTION_INFO_V1(unleash_tokens_delete_environment);

static char *
read_text(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

/* Raise what was refused; else the answer. */
static Datum
finish(bool well, bool answer, const UtProblem *problem)
{
	if (!well)
		ut_problem_raise(problem);
	ut_promise_make();
	return BoolGetDatum(answer);
}

static Datum
rename_name(FunctionCallInfo fcinfo, UtRegistry registry)
{
	UtProblem	problem;
	bool		found = false;
	bool		well = ut_registry_rename(registry, read_text(fcinfo, 0), read_text(fcinfo, 1), &found, &problem);

	return finish(well, found, &problem);
}

static Datum
delete_name(FunctionCallInfo fcinfo, UtRegistry registry)
{
	UtProblem	problem;
	bool		found = false;
	bool		well = ut_registry_delete(registry, read_text(fcinfo, 0), &found, &problem);

	return finish(well, found, &problem);
}

Datum
unleash_tokens_create_project(PG_FUNCTION_ARGS)
{
	UtProblem	problem;
	bool		made = false;
	bool		well = ut_registry_create_project(read_text(fcinfo, 0), &made, &problem);

	return finish(well, made, &problem);
}

/* Whether it is enabled is only shown, and NULL means that nothing was said. */
Datum
unleash_tokens_create_environment(PG_FUNCTION_ARGS)
{
	UtProblem	problem;
	bool		made = false;
	bool		enabled = PG_ARGISNULL(2) || PG_GETARG_BOOL(2);
	bool		well = ut_registry_create_environment(read_text(fcinfo, 0), read_text(fcinfo, 1), enabled, &made, &problem);

	return finish(well, made, &problem);
}

Datum
unleash_tokens_rename_project(PG_FUNCTION_ARGS)
{
	return rename_name(fcinfo, UT_REGISTRY_PROJECT);
}

Datum
unleash_tokens_delete_project(PG_FUNCTION_ARGS)
{
	return delete_name(fcinfo, UT_REGISTRY_PROJECT);
}

Datum
unleash_tokens_rename_environment(PG_FUNCTION_ARGS)
{
	return rename_name(fcinfo, UT_REGISTRY_ENVIRONMENT);
}

Datum
unleash_tokens_delete_environment(PG_FUNCTION_ARGS)
{
	return delete_name(fcinfo, UT_REGISTRY_ENVIRONMENT);
}
