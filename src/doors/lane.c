/*-------------------------------------------------------------------------
 *
 * lane.c
 *	  What can SQL call of the fast lane?
 *
 * Knows no tables and no tokens, and takes no locks.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "http/lane.h"

PG_FUNCTION_INFO_V1(unleash_tokens_authorize_many);

/* The arrays of a call, one for each field. */
typedef struct Columns
{
	int			count;
	Datum	   *values[UT_LANE_FIELDS];
	bool	   *nulls[UT_LANE_FIELDS];
} Columns;

static void
read_columns(FunctionCallInfo fcinfo, Columns *columns)
{
	for (int i = 0; i < UT_LANE_FIELDS; i++)
	{
		int			count;

		deconstruct_array(PG_GETARG_ARRAYTYPE_P(i), BYTEAOID, -1, false, TYPALIGN_INT,
						  &columns->values[i], &columns->nulls[i], &count);
		if (i == 0)
			columns->count = count;
		else if (count != columns->count)
			ereport(ERROR,
					(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
					 errmsg("the arrays of a call must have the same length"),
					 errdetail("The first one has %d, number %d has %d.", columns->count, i + 1, count)));
	}
}

static void
answer_row(const Columns *columns, int row, ReturnSetInfo *result)
{
	bytea	   *fields[UT_LANE_FIELDS];
	UtLaneReply reply;
	Datum		values[3];
	bool		nulls[3] = {true, true, true};

	for (int i = 0; i < UT_LANE_FIELDS; i++)
		fields[i] = columns->nulls[i][row] ? NULL : DatumGetByteaPP(columns->values[i][row]);
	if (ut_lane_answer(fields, &reply))
	{
		memset(nulls, false, sizeof(nulls));
		values[0] = Int32GetDatum(reply.status);
		values[1] = CStringGetTextDatum(reply.headers);
		values[2] = PointerGetDatum(reply.body);
	}
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

Datum
unleash_tokens_authorize_many(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Columns		columns;
	MemoryContext each;

	InitMaterializedSRF(fcinfo, 0);
	read_columns(fcinfo, &columns);
	each = AllocSetContextCreate(CurrentMemoryContext, "request of many", ALLOCSET_DEFAULT_SIZES);
	for (int row = 0; row < columns.count; row++)
	{
		MemoryContext before = MemoryContextSwitchTo(each);

		CHECK_FOR_INTERRUPTS();
		answer_row(&columns, row, result);
		MemoryContextSwitchTo(before);
		MemoryContextReset(each);
	}
	MemoryContextDelete(each);
	return (Datum) 0;
}
