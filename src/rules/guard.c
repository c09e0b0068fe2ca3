/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  On behalf of which token does this transaction run?
 *
 * The answer is kept in this process's own memory and in no setting: whatever
 * a user, an owner or a superuser says in SQL, there is nothing to say it to.
 * Only ut_guard_enter() writes it, after it has validated a secret, and the
 * ends of the transaction and of the savepoint it was called in take it away.
 * A parallel worker has none, so what reads it must stay in the leader.
 *
 * Knows no HTTP.  Locking: none.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "base/scope.h"
#include "rules/caller.h"
#include "rules/guard.h"
#include "rules/limit.h"
#include "rules/role.h"
#include "rules/service.h"
#include "store/guard.h"

/* The token, and the savepoint that it goes with. */
static MemoryContext identity_context = NULL;
static UtToken *identity = NULL;
static SubTransactionId identity_level = InvalidSubTransactionId;

static void
forget_identity(void)
{
	if (identity_context != NULL)
		MemoryContextDelete(identity_context);
	identity_context = NULL;
	identity = NULL;
	identity_level = InvalidSubTransactionId;
}

/* Also after PREPARE TRANSACTION: another session will commit that one. */
static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			forget_identity();
			break;
		default:
			break;
	}
}

/* As SET LOCAL: what a savepoint brought goes with its abort, and stays when it is released. */
static void
end_savepoint(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (identity_level != mine)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forget_identity();
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		identity_level = parent;
}

void
ut_guard_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_savepoint, NULL);
}

static char *
copy_text(const char *text)
{
	return text == NULL ? NULL : pstrdup(text);
}

static void
remember_identity(const UtToken *token)
{
	MemoryContext before;

	identity_context = AllocSetContextCreate(TopTransactionContext, "unleash_tokens identity",
											 ALLOCSET_SMALL_SIZES);
	before = MemoryContextSwitchTo(identity_context);
	identity = palloc(sizeof(UtToken));
	*identity = *token;
	identity->selector = copy_text(token->selector);
	identity->name = copy_text(token->name);
	identity->environment = copy_text(token->environment);
	identity->alias = NULL;
	memset(&identity->sources, 0, sizeof(UtSources));
	identity->scope.ids = palloc(Max(token->scope.count, 1) * sizeof(char *));
	for (int i = 0; i < token->scope.count; i++)
		identity->scope.ids[i] = copy_text(token->scope.ids[i]);
	MemoryContextSwitchTo(before);
	identity_level = GetCurrentSubTransactionId();
}

/* What the client must not hear goes to the server's log. */
static void
report_role(const UtToken *token, const UtGuardRole *row, const char *fault)
{
	ereport(LOG_SERVER_ONLY,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("token %s cannot run as role \"%s\": %s", token->selector, row->role, fault),
			 errdetail("The row of unleash_tokens.guard_role has type %s, environment %s and project %s.",
					   row->type ? row->type : "NULL", row->environment ? row->environment : "NULL",
					   row->project ? row->project : "NULL"),
			 errhidestmt(true), errhidecontext(true)));
}

static bool
enter_role(const UtToken *token, UtProblem *problem)
{
	UtGuardRole row;
	const char *fault;

	if (!ut_store_find_guard_role(token, &row))
		return ut_problem_set(problem, UT_PROBLEM_GUARD_ROLE, NULL,
							  "No row of unleash_tokens.guard_role fits the token.");
	fault = ut_role_find_fault(row.role);
	if (fault == NULL && !ut_role_become(row.role))
		fault = "The user of the session may not set it.";
	if (fault == NULL)
		return true;
	report_role(token, &row, fault);
	return ut_problem_set(problem, UT_PROBLEM_GUARD_ROLE, NULL,
						  "The role of the token cannot be used; the server's log says why.");
}

/* The statement may hold the secret: the log gets neither it nor its context. */
static void
check_transaction(void)
{
	if (!IsTransactionBlock() && !IsSubTransaction())
		ereport(ERROR,
				(errcode(ERRCODE_NO_ACTIVE_SQL_TRANSACTION),
				 errmsg("guard() can only be used in transaction blocks"),
				 errhint("The token is that of one transaction: send BEGIN first."),
				 errhidestmt(true), errhidecontext(true)));
	if (InLocalUserIdChange() || InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("guard() cannot be called within a security-definer function"),
				 errhint("The role of the transaction cannot be set there."),
				 errhidestmt(true), errhidecontext(true)));
}

bool
ut_guard_enter(const char *secret, size_t len, const uint8 *address,
			   UtRateState *rate, UtProblem *problem)
{
	UtToken		token;

	rate->rate.limit = 0;
	check_transaction();
	if (!ut_service_validate_from(secret, len, address, &token))
		return ut_problem_set(problem, UT_PROBLEM_GUARD_REFUSED, NULL, "The token was refused.");
	if (identity != NULL)
	{
		if (strcmp(identity->selector, token.selector) == 0)
			return true;
		return ut_problem_set(problem, UT_PROBLEM_GUARD_OTHER, NULL,
							  "The transaction runs for token %s.", identity->selector);
	}
	if (!ut_limit_take(&token, rate, problem) || !enter_role(&token, problem))
		return false;
	remember_identity(&token);
	return true;
}

const UtToken *
ut_guard_token(void)
{
	return identity;
}

bool
ut_guard_reaches(const char *project, const char *environment)
{
	return identity != NULL &&
		ut_scope_reaches(&identity->scope, project) &&
		(environment == NULL || identity->environment == NULL ||
		 strcmp(identity->environment, environment) == 0) &&
		ut_store_is_project(project);
}
