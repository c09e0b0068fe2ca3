/*-------------------------------------------------------------------------
 *
 * plan.c
 *	  How is a statement run?  Each is planned once a session.
 *
 * Knows no statement in particular.  Locks: those that the statements say.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "optimizer/cost.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "store/latest.h"
#include "store/plan.h"
#include "store/statement.h"
#include "store/trust.h"
#include "store/version.h"

/* Plans live as long as the session; the server plans anew what DDL makes stale. */
static SPIPlanPtr plans[UT_PLANS];

static SPIPlanPtr get_plan(UtPlan plan);

void
ut_store_open(void)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	ut_version_check();
}

void
ut_store_close(void)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "could not finish SPI");
}

/* As SPI_execute_snapshot; by the usual rules without a snapshot. */
static int
run_under(UtPlan plan, Datum *values, const char *nulls, Snapshot snapshot)
{
	SPIPlanPtr	prepared = get_plan(plan);

	ut_store_check_statement(prepared);
	return SPI_execute_snapshot(prepared, values, nulls, snapshot, InvalidSnapshot,
								snapshot != InvalidSnapshot, true, 0);
}

/* What the planner may do. */
typedef struct Freedom
{
	bool		seqscan;
	bool		bitmapscan;
	bool		sort;
} Freedom;

/*
 * Plans are kept for the session, those of foreign keys too, and one that was
 * made while a table was small would read it whole when it has grown.  So what
 * is found by its key is planned without sequential scans, and what comes in
 * the order of an index without a way that would need all of it at once.
 */
static Freedom
restrain_planner(const UtStatement *statement)
{
	Freedom		before = {enable_seqscan, enable_bitmapscan, enable_sort};

	enable_seqscan = before.seqscan && !statement->by_key;
	enable_bitmapscan = before.bitmapscan && !statement->in_order;
	enable_sort = before.sort && !statement->in_order;
	return before;
}

static void
free_planner(Freedom before)
{
	enable_seqscan = before.seqscan;
	enable_bitmapscan = before.bitmapscan;
	enable_sort = before.sort;
}

uint64
ut_store_run(UtPlan plan, Datum *values, const char *nulls, UtView view)
{
	UtLatest	latest = {.snapshot = InvalidSnapshot};
	Freedom		before;
	int			result;

	if (view == UT_VIEW_LATEST)
		ut_latest_open(&latest, UT_BY_STATEMENT);
	before = restrain_planner(&ut_statements[plan]);
	PG_TRY();
	{
		result = run_under(plan, values, nulls, latest.snapshot);
	}
	PG_FINALLY();
	{
		free_planner(before);
	}
	PG_END_TRY();
	if (view == UT_VIEW_LATEST)
		ut_latest_close(&latest);
	if (result < 0)
		elog(ERROR, "could not run statement %d: %s", (int) plan,
			 SPI_result_code_string(result));
	return SPI_processed;
}

/* Where rows go without being kept. */
typedef struct Receiver
{
	DestReceiver base;
	UtRowVisitor visitor;
	void	   *arg;
} Receiver;

static bool
receive_row(TupleTableSlot *row, DestReceiver *self)
{
	Receiver   *receiver = (Receiver *) self;

	return receiver->visitor(row, receiver->arg);
}

static void
start_receiving(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
end_receiving(DestReceiver *self)
{
}

static ParamListInfo
make_params(const UtStatement *statement, Datum *values)
{
	ParamListInfo params = makeParamList(statement->nargs);

	for (int i = 0; i < statement->nargs; i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = false;
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = statement->argtypes[i];
	}
	return params;
}

void
ut_store_visit_rows(UtPlan plan, Datum *values, Snapshot snapshot, UtRowVisitor visitor, void *arg)
{
	Receiver	receiver = {{receive_row, start_receiving, end_receiving, end_receiving, DestNone}, visitor, arg};
	SPIExecuteOptions options = {.read_only = true,.dest = &receiver.base};
	Freedom		before;
	int			result;

	options.params = make_params(&ut_statements[plan], values);
	PushActiveSnapshot(snapshot);
	before = restrain_planner(&ut_statements[plan]);
	PG_TRY();
	{
		result = SPI_execute_plan_extended(get_plan(plan), &options);
	}
	PG_FINALLY();
	{
		free_planner(before);
	}
	PG_END_TRY();
	PopActiveSnapshot();
	if (result < 0)
		elog(ERROR, "could not run statement %d: %s", (int) plan,
			 SPI_result_code_string(result));
}

/*
 * Stored only once it is complete: an error in between leaves NULL.  What is
 * found by its key has one plan for whatever key: for an array the server would
 * plan each call anew, since it knows the length of that one.
 */
static SPIPlanPtr
get_plan(UtPlan plan)
{
	const UtStatement *statement = &ut_statements[plan];
	SPIPlanPtr	prepared;

	if (plans[plan] != NULL)
		return plans[plan];
	prepared = SPI_prepare_cursor(statement->sql, statement->nargs, (Oid *) statement->argtypes,
								  statement->by_key ? CURSOR_OPT_GENERIC_PLAN : 0);
	if (prepared == NULL)
		elog(ERROR, "could not prepare statement %d: %s", (int) plan,
			 SPI_result_code_string(SPI_result));
	SPI_keepplan(prepared);
	plans[plan] = prepared;
	return prepared;
}
