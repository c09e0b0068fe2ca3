/*-------------------------------------------------------------------------
 *
 * facts.c
 *	  Which version is this library, and what does it refuse?
 *
 * Constants only: knows no table, no token and no request, and takes no locks.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "base/problem.h"

PG_FUNCTION_INFO_V1(unleash_tokens_library_version);
PG_FUNCTION_INFO_V1(unleash_tokens_list_refusals);

Datum
unleash_tokens_library_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(UT_VERSION));
}

Datum
unleash_tokens_list_refusals(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < UT_PROBLEMS; i++)
	{
		const UtProblemKind *kind = ut_problem_kind((UtProblemId) i);
		Datum		values[5];
		bool		nulls[5] = {false};

		values[0] = CStringGetTextDatum(kind->name);
		values[1] = Int32GetDatum(kind->status);
		values[2] = CStringGetTextDatum(unpack_sql_state(kind->sqlstate));
		values[3] = CStringGetTextDatum(kind->message);
		values[4] = CStringGetTextDatum(kind->hint);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
