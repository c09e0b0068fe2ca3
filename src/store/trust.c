/*-------------------------------------------------------------------------
 *
 * trust.c
 *	  Whose code runs when a table of ours is written?
 *
 * A trigger's function runs as whoever writes, not as who put the trigger
 * there; its condition, checks, defaults and expressions of indexes do so too.
 * To write as a role is to lend it to the owners of the table and of those
 * functions: done only to those who could act as that role anyway.  A function
 * that is SECURITY DEFINER borrows nothing.
 *
 * Locking: tables to be written ROW EXCLUSIVE, which no new trigger passes.
 *
 * Knows no token.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/syscache.h"

#include "store/trust.h"

/* The owner of the code that runs as whoever calls it; InvalidOid for none such. */
static Oid
find_borrower(Oid function)
{
	HeapTuple	row = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			owner = InvalidOid;

	if (!HeapTupleIsValid(row))
		elog(ERROR, "cache lookup failed for function %u", function);
	if (!((Form_pg_proc) GETSTRUCT(row))->prosecdef)
		owner = ((Form_pg_proc) GETSTRUCT(row))->proowner;
	ReleaseSysCache(row);
	return owner;
}

/* May it run code of others?  What is not immutable may take its code from an argument. */
static bool
is_open(Oid function, void *role)
{
	Oid			owner = find_borrower(function);

	return func_volatile(function) != PROVOLATILE_IMMUTABLE ||
		!OidIsValid(owner) || !has_privs_of_role(owner, *(Oid *) role);
}

/* The same of an expression; what is not known to be harmless is not, such as the checks of a domain. */
static bool
runs_others(Node *node, void *role)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_List:
		case T_Var:
		case T_Const:
		case T_RelabelType:
		case T_RowExpr:
		case T_ArrayExpr:
		case T_BoolExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_OpExpr:
		case T_DistinctExpr:
		case T_ScalarArrayOpExpr:
		case T_FuncExpr:
			return check_functions_in_node(node, is_open, role) ||
				expression_tree_walker(node, runs_others, role);
		default:
			return true;
	}
}

/* Nobody owns the condition of a trigger: whoever has TRIGGER on the table may write any. */
static void
check_condition(Relation table, const Trigger *trigger, Oid role)
{
	if (trigger->tgqual == NULL || !runs_others(stringToNode(trigger->tgqual), &role))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("condition of trigger \"%s\" on table \"%s\" is not trusted",
					trigger->tgname, RelationGetRelationName(table)),
			 errdetail("It may compare columns with immutable functions of role \"%s\" only, as who it would run.",
					   GetUserNameFromId(role, false)),
			 errhint("Drop the trigger, or put the condition into its function.")));
}

static void
check_trigger(Relation table, const Trigger *trigger, Oid role)
{
	Oid			owner = find_borrower(trigger->tgfoid);

	if (!OidIsValid(owner) || has_privs_of_role(owner, role))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("trigger \"%s\" on table \"%s\" is not trusted", trigger->tgname, RelationGetRelationName(table)),
			 errdetail("Its function %s belongs to role \"%s\", who would act as role \"%s\".",
					   get_func_name(trigger->tgfoid), GetUserNameFromId(owner, false), GetUserNameFromId(role, false)),
			 errhint("Drop the trigger, make its function SECURITY DEFINER, or give the function to role \"%s\".",
					 GetUserNameFromId(role, false))));
}

static void
check_owner(Relation table, Oid role)
{
	Oid			owner = table->rd_rel->relowner;

	if (owner == role || has_privs_of_role(owner, role))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("table \"%s\" belongs to a role that is not trusted", RelationGetRelationName(table)),
			 errdetail("Its owner is role \"%s\", whose code would act as role \"%s\".",
					   GetUserNameFromId(owner, false), GetUserNameFromId(role, false)),
			 errhint("Give the table to role \"%s\".", GetUserNameFromId(role, false))));
}

void
ut_store_check_table(Relation table)
{
	Oid			role = GetUserId();

	check_owner(table, role);
	for (int i = 0; table->trigdesc != NULL && i < table->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &table->trigdesc->triggers[i];

		if (!trigger->tgisinternal && trigger->tgenabled != TRIGGER_DISABLED)
		{
			check_condition(table, trigger, role);
			check_trigger(table, trigger, role);
		}
	}
}

static void
check_table(RangeVar *name)
{
	Relation	table = table_openrv(name, RowExclusiveLock);

	ut_store_check_table(table);
	table_close(table, NoLock);
}

/* What a statement writes, and what the statements in its WITH do. */
static void
check_statement(Node *statement)
{
	RangeVar   *table = NULL;
	WithClause *with = NULL;
	ListCell   *cell;

	if (IsA(statement, InsertStmt))
	{
		table = castNode(InsertStmt, statement)->relation;
		with = castNode(InsertStmt, statement)->withClause;
	}
	else if (IsA(statement, UpdateStmt))
	{
		table = castNode(UpdateStmt, statement)->relation;
		with = castNode(UpdateStmt, statement)->withClause;
	}
	else if (IsA(statement, DeleteStmt))
	{
		table = castNode(DeleteStmt, statement)->relation;
		with = castNode(DeleteStmt, statement)->withClause;
	}
	else if (IsA(statement, SelectStmt))
		with = castNode(SelectStmt, statement)->withClause;
	foreach(cell, with == NULL ? NIL : with->ctes)
		check_statement(lfirst_node(CommonTableExpr, cell)->ctequery);
	if (table == NULL)
		return;
	check_table(table);
	if ((IsA(statement, DeleteStmt) && strcmp(table->relname, "api_token") == 0) ||
		(!IsA(statement, InsertStmt) && strcmp(table->relname, "project") == 0))
		check_table(makeRangeVar(table->schemaname, "api_token_project", -1));
	if (!IsA(statement, InsertStmt) && strcmp(table->relname, "environment") == 0)
		check_table(makeRangeVar(table->schemaname, "api_token", -1));
}

/* By the text, which a plan keeps whatever becomes of its tables. */
void
ut_store_check_statement(SPIPlanPtr plan)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));

	check_statement(source->raw_parse_tree->stmt);
}

void
ut_store_become_owner(const char *table, LOCKMODE mode, UtOwner *owner)
{
	owner->table = table_openrv(makeRangeVar("unleash_tokens", unconstify(char *, table), -1), mode);
	owner->nest = NewGUCNestLevel();
	GetUserIdAndSecContext(&owner->user, &owner->context);
	SetUserIdAndSecContext(owner->table->rd_rel->relowner, owner->context | SECURITY_RESTRICTED_OPERATION);
}

void
ut_store_leave_owner(const UtOwner *owner)
{
	AtEOXact_GUC(false, owner->nest);
	SetUserIdAndSecContext(owner->user, owner->context);
	table_close(owner->table, NoLock);
}
