/*-------------------------------------------------------------------------
 *
 * doors/life.c
 *	  What can SQL call of a token's life?
 *
 * Each unpacks its arguments, calls a room of the rules and packs the result.
 * Knows no SQL text.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "http/postgrest.h"
#include "http/promise.h"
#include "rules/answer.h"
#include "rules/caller.h"
#include "rules/lifetime.h"
#include "rules/request.h"
#include "rules/rotation.h"
#include "store/row.h"
#include "usage/notice.h"

PG_FUNCTION_INFO_V1(unleash_tokens_enforce_lifetime);
PG_FUNCTION_INFO_V1(unleash_tokens_rotate_api_token);
PG_FUNCTION_INFO_V1(unleash_tokens_finish_rotation);
PG_FUNCTION_INFO_V1(unleash_tokens_cancel_rotation);
PG_FUNCTION_INFO_V1(unleash_tokens_get_notice_days);

static void
put_row(const UtToken *token, TimestampTz latest, void *arg)
{
	ReturnSetInfo *result = arg;
	Datum		values[6];
	bool		nulls[6] = {false};

	values[0] = CStringGetTextDatum(token->selector);
	values[1] = CStringGetTextDatum(token->name);
	values[2] = CStringGetTextDatum(ut_token_type_names[token->type]);
	values[3] = TimestampTzGetDatum(token->created_at);
	values[4] = TimestampTzGetDatum(token->expires_at);
	nulls[4] = token->expires_at == UT_TIME_UNSET;
	values[5] = TimestampTzGetDatum(latest);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

Datum
unleash_tokens_enforce_lifetime(PG_FUNCTION_ARGS)
{
	UtActor		actor = ut_caller_sql_actor();

	InitMaterializedSRF(fcinfo, 0);
	ut_lifetime_enforce(PG_GETARG_BOOL(0), &actor, put_row, fcinfo->resultinfo);
	return (Datum) 0;
}

/* An unknown token is NULL, as for change and delete; all else is an error. */
static Datum
refuse(FunctionCallInfo fcinfo, const UtProblem *problem)
{
	if (problem->id != UT_PROBLEM_TOKEN_UNKNOWN)
		ut_problem_raise(problem);
	PG_RETURN_NULL();
}

/* A length of time that is NULL is none that was given: the defaults are for who leaves it out. */
Datum
unleash_tokens_rotate_api_token(PG_FUNCTION_ARGS)
{
	UtActor		actor = ut_caller_sql_actor();
	UtRotate	rotate;
	UtToken		token;
	char	   *secret;
	UtProblem	problem;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
	{
		(void) ut_problem_set(&problem, UT_PROBLEM_ROTATION_TIME, NULL, "%s is NULL.",
							  PG_ARGISNULL(1) ? "grace" : "activate_by");
		ut_problem_raise(&problem);
	}
	if (!ut_request_rotate_intervals(PG_GETARG_INTERVAL_P(1), PG_GETARG_INTERVAL_P(2), &rotate, &problem))
		ut_problem_raise(&problem);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (!ut_rotation_begin(text_to_cstring(PG_GETARG_TEXT_PP(0)), &rotate, &actor, &token, &secret, &problem))
		return refuse(fcinfo, &problem);
	ut_promise_make();
	ut_postgrest_answer_secret("rotate_api_token", 200, NULL);
	PG_RETURN_JSONB_P(ut_answer_shown(&token, secret));
}

static Datum
end_rotation(PG_FUNCTION_ARGS, bool cancel)
{
	UtActor		actor = ut_caller_sql_actor();
	UtToken		token;
	UtProblem	problem;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (!ut_rotation_end(text_to_cstring(PG_GETARG_TEXT_PP(0)), cancel, &actor, &token, &problem))
		return refuse(fcinfo, &problem);
	ut_promise_make();
	PG_RETURN_JSONB_P(ut_answer_shown(&token, NULL));
}

Datum
unleash_tokens_finish_rotation(PG_FUNCTION_ARGS)
{
	return end_rotation(fcinfo, false);
}

Datum
unleash_tokens_cancel_rotation(PG_FUNCTION_ARGS)
{
	return end_rotation(fcinfo, true);
}

Datum
unleash_tokens_get_notice_days(PG_FUNCTION_ARGS)
{
	const int  *days;
	Datum		values[UT_NOTICES];
	int			count = ut_notice_days(&days);

	for (int i = 0; i < count; i++)
		values[i] = Int32GetDatum(days[i]);
	return ut_row_array(values, count, INT4OID, false);
}
