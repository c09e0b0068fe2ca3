/*-------------------------------------------------------------------------
 *
 * unleash_tokens_guard.c
 *	  What can SQL call to guard somebody's own tables?  guard(), and the
 *	  functions that tell who is calling.
 *
 * The readers are called in policies, by anyone: they look at this process's
 * memory and need no right.  guard() is nobody's SECURITY DEFINER, or it could
 * not set the role.
 *
 * Knows no SQL text and no details of JSON.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "base/compat.h"
#include "http/origin.h"
#include "http/prerequest.h"
#include "rules/answer.h"
#include "rules/field.h"
#include "rules/guard.h"
#include "rules/role.h"
#include "store/guard.h"
#include "store/row.h"

PG_FUNCTION_INFO_V1(unleash_tokens_guard);
PG_FUNCTION_INFO_V1(unleash_tokens_guard_secret);
PG_FUNCTION_INFO_V1(unleash_tokens_set_guard_role);
PG_FUNCTION_INFO_V1(unleash_tokens_drop_guard_role);
PG_FUNCTION_INFO_V1(unleash_tokens_tell_sessions);
PG_FUNCTION_INFO_V1(unleash_tokens_token_selector);
PG_FUNCTION_INFO_V1(unleash_tokens_token_name);
PG_FUNCTION_INFO_V1(unleash_tokens_token_type);
PG_FUNCTION_INFO_V1(unleash_tokens_token_environment);
PG_FUNCTION_INFO_V1(unleash_tokens_token_projects);
PG_FUNCTION_INFO_V1(unleash_tokens_token_reaches);
PG_FUNCTION_INFO_V1(unleash_tokens_token_identity);

/* ---- Becoming a token ---- */

Datum
unleash_tokens_guard(PG_FUNCTION_ARGS)
{
	ut_prerequest_guard();
	PG_RETURN_VOID();
}

Datum
unleash_tokens_guard_secret(PG_FUNCTION_ARGS)
{
	UtProblem	problem;
	UtRateState rate;
	text	   *secret;

	if (PG_ARGISNULL(0))
	{
		ut_problem_set(&problem, UT_PROBLEM_GUARD_REFUSED, NULL, "The token is NULL.");
		ut_problem_raise(&problem);
	}
	secret = PG_GETARG_TEXT_PP(0);
	if (!ut_guard_enter(VARDATA_ANY(secret), VARSIZE_ANY_EXHDR(secret), ut_origin_of_session(), &rate, &problem))
		ut_problem_raise(&problem);
	PG_RETURN_JSONB_P(ut_answer_validation(ut_guard_token()));
}

/* ---- Roles ---- */

/* NULL and * stand for any. */
static char *
get_choice(FunctionCallInfo fcinfo, int arg)
{
	char	   *choice = PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));

	return choice != NULL && strcmp(choice, "*") == 0 ? NULL : choice;
}

static void
check_type(const char *type)
{
	bool		is_known = type == NULL;

	for (int i = 0; i < UT_TOKEN_TYPES && !is_known; i++)
		is_known = strcmp(type, ut_token_type_names[i]) == 0;
	if (!is_known)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown token type"),
				 errdetail("You sent the type %s.", ut_field_show(type, strlen(type))),
				 errhint("Use client, backend, frontend or admin, or * for any.")));
}

Datum
unleash_tokens_set_guard_role(PG_FUNCTION_ARGS)
{
	UtGuardRole row;
	const char *fault;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("role must not be null"),
				 errhint("Name a database role; drop_guard_role() takes one away.")));
	row.type = get_choice(fcinfo, 0);
	check_type(row.type);
	row.role = text_to_cstring(PG_GETARG_TEXT_PP(1));
	row.environment = get_choice(fcinfo, 2);
	row.project = get_choice(fcinfo, 3);
	fault = ut_role_find_fault(row.role);
	if (fault != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no token may run as role \"%s\"", row.role),
				 errdetail_internal("%s", fault),
				 errhint("Use a role that row security binds and that has no right to the tokens.")));
	ut_store_set_guard_role(&row);
	PG_RETURN_VOID();
}

Datum
unleash_tokens_drop_guard_role(PG_FUNCTION_ARGS)
{
	UtGuardRole row = {.role = NULL};

	row.type = get_choice(fcinfo, 0);
	row.environment = get_choice(fcinfo, 1);
	row.project = get_choice(fcinfo, 2);
	PG_RETURN_BOOL(ut_store_drop_guard_role(&row));
}

/* On whatever table it is: there it does no harm. */
Datum
unleash_tokens_tell_sessions(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function can only be called by the triggers of unleash_tokens")));
	ut_store_tell_sessions(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}

/* ---- Who is calling ---- */

Datum
unleash_tokens_token_selector(PG_FUNCTION_ARGS)
{
	const UtToken *token = ut_guard_token();

	if (token == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(token->selector));
}

Datum
unleash_tokens_token_name(PG_FUNCTION_ARGS)
{
	const UtToken *token = ut_guard_token();

	if (token == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(token->name));
}

Datum
unleash_tokens_token_type(PG_FUNCTION_ARGS)
{
	const UtToken *token = ut_guard_token();

	if (token == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(ut_token_type_names[token->type]));
}

Datum
unleash_tokens_token_environment(PG_FUNCTION_ARGS)
{
	const UtToken *token = ut_guard_token();

	if (token == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(token->environment ? token->environment : "*"));
}

/* All projects are those there are: an index can be used for them too. */
Datum
unleash_tokens_token_projects(PG_FUNCTION_ARGS)
{
	const UtToken *token = ut_guard_token();
	List	   *all;
	int			count = 0;
	char	  **ids;
	ListCell   *cell;

	if (token == NULL)
		PG_RETURN_NULL();
	if (!token->scope.all)
		return ut_row_text_array(token->scope.ids, token->scope.count);
	all = ut_store_list_projects();
	ids = palloc(Max(list_length(all), 1) * sizeof(char *));
	foreach(cell, all)
		ids[count++] = lfirst(cell);
	return ut_row_text_array(ids, count);
}

/* Never NULL: a policy that denies it must not become one that grants. */
Datum
unleash_tokens_token_reaches(PG_FUNCTION_ARGS)
{
	const char *environment = NULL;

	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	if (PG_NARGS() > 1)
	{
		if (PG_ARGISNULL(1))
			PG_RETURN_BOOL(false);
		environment = text_to_cstring(PG_GETARG_TEXT_PP(1));
	}
	PG_RETURN_BOOL(ut_guard_reaches(text_to_cstring(PG_GETARG_TEXT_PP(0)), environment));
}

Datum
unleash_tokens_token_identity(PG_FUNCTION_ARGS)
{
	const UtToken *token = ut_guard_token();

	if (token == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(ut_answer_validation(token));
}
