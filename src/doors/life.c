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

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "rules/caller.h"
#include "rules/lifetime.h"

PG_FUNCTION_INFO_V1(unleash_tokens_enforce_lifetime);

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
