/*-------------------------------------------------------------------------
 *
 * promise.c
 *	  Is what PostgREST is about to answer going to be kept?
 *
 * PostgREST can be told to roll each transaction back (db-tx-end, or a client's
 * Prefer: tx=rollback), and then answers as if it were kept: 201 with a secret
 * that is none.  Before such a rollback it sends SET CONSTRAINTS ALL IMMEDIATE,
 * to hear of constraints that only COMMIT would check.  That is where it is
 * told.
 *
 * Knows no endpoint and no token.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"

#include "http/postgrest.h"
#include "http/promise.h"

static ProcessUtility_hook_type previous_hook = NULL;

/* The transaction in which it was made; another one has another id. */
static TransactionId promised = InvalidTransactionId;

static bool
is_end_of_request(const Node *statement)
{
	return IsA(statement, ConstraintsSetStmt) &&
		((const ConstraintsSetStmt *) statement)->constraints == NIL &&
		!((const ConstraintsSetStmt *) statement)->deferred;
}

static void
check_promise(PlannedStmt *statement, const char *query, bool read_only_tree,
			  ProcessUtilityContext context, ParamListInfo params,
			  QueryEnvironment *environment, DestReceiver *receiver, QueryCompletion *completion)
{
	if (TransactionIdIsValid(promised) && context == PROCESS_UTILITY_TOPLEVEL &&
		is_end_of_request(statement->utilityStmt) && promised == GetTopTransactionIdIfAny())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("what this request has written would be rolled back"),
				 errdetail("PostgREST is about to end the transaction by ROLLBACK, and would answer as if all of it were kept."),
				 errhint("Set db-tx-end of PostgREST to commit, its default, and send no Prefer: tx=rollback.")));
	if (previous_hook != NULL)
		previous_hook(statement, query, read_only_tree, context, params, environment, receiver, completion);
	else
		standard_ProcessUtility(statement, query, read_only_tree, context, params, environment, receiver, completion);
}

void
ut_promise_init(void)
{
	previous_hook = ProcessUtility_hook;
	ProcessUtility_hook = check_promise;
}

void
ut_promise_make(void)
{
	if (ut_postgrest_is_calling(NULL))
		promised = GetTopTransactionIdIfAny();
}
