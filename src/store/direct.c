/*-------------------------------------------------------------------------
 *
 * direct.c
 *	  How is a row written or locked without a statement?
 *
 * Whenever an INSERT starts, it reads the checks and defaults of its table from
 * their text and plans them: more work than all else that a new token takes.
 * Here they are planned once a session, and rows are written as logical
 * replication writes them: by the executor's own functions, with checks,
 * indexes and foreign keys.
 *
 * What somebody else has added to a table is left to the statement: triggers
 * for INSERT, rules, policies, generated columns, other types, partitions.
 *
 * Locking: tables that are written ROW EXCLUSIVE, environment ROW SHARE and its
 * row FOR KEY SHARE, all to the end of the transaction.
 *
 * Knows columns and their types, but no tokens.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/cost.h"
#include "parser/parse_relation.h"
#include "rewrite/rewriteHandler.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "store/direct.h"
#include "store/trust.h"
#include "store/version.h"

#define MAX_COLUMNS 21
#define ENVIRONMENT_NAME 1

/* The columns that rows are given for; others may stand behind them. */
typedef struct Shape
{
	const char *name;
	int			count;
	Oid			types[MAX_COLUMNS];
} Shape;

static const Shape shapes[UT_DIRECT_TABLES] = {
	[UT_DIRECT_TOKEN] = {"api_token", 21,
		{TEXTOID, BYTEAOID, TEXTOID, TEXTOID, TEXTOID, BOOLOID, BOOLOID,
			TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, BOOLOID,
			BYTEAOID, TIMESTAMPTZOID, INTERVALOID, TIMESTAMPTZOID, INT4OID, INT4OID, INT4OID,
	CIDRARRAYOID}},
	[UT_DIRECT_PROJECT] = {"api_token_project", 3, {TEXTOID, TEXTOID, INT4OID}},
	[UT_DIRECT_EVENT] = {"api_token_event", 9,
		{INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	JSONBOID, JSONBOID}},
};

/* What is planned for a table, until the server says that the table has changed. */
typedef struct Kept
{
	Oid			table;
	bool		is_current;
	int			count;			/* of checks, then of columns */
	int			checks;
	CachedExpression **expressions; /* NULL for a column without a default */
} Kept;

static Kept kept[UT_DIRECT_TABLES];

/*
 * While rows are written nothing that is kept may go; a check of others that
 * makes a token meanwhile gets the statement.
 */
static bool busy = false;

/* One command in the making. */
typedef struct Writing
{
	Relation	tables[UT_DIRECT_TABLES];	/* NULL where nothing is written */
	ResultRelInfo *results[UT_DIRECT_TABLES];
	EState	   *estate;
} Writing;

static void
note_relation_change(Datum arg, Oid relation)
{
	for (int i = 0; i < UT_DIRECT_TABLES; i++)
	{
		if (!OidIsValid(relation) || relation == kept[i].table)
			kept[i].is_current = false;
	}
}

/* ---- What is kept of a table ---- */

static bool
is_usable(const Kept *plans, Oid table)
{
	bool		usable = plans->is_current && plans->table == table;

	/* a function in it may have changed, which is no change of the table */
	for (int i = 0; usable && i < plans->count; i++)
		usable = plans->expressions[i] == NULL || plans->expressions[i]->is_valid;
	return usable;
}

static void
forget(Kept *plans)
{
	for (int i = 0; i < plans->count; i++)
	{
		if (plans->expressions[i] != NULL)
			FreeCachedExpression(plans->expressions[i]);
	}
	if (plans->expressions != NULL)
		pfree(plans->expressions);
	memset(plans, 0, sizeof(Kept));
}

/* The table is locked, so that a change in between is none of these. */
static void
plan_anew(Kept *plans, Relation table)
{
	static bool registered = false;
	TupleDesc	desc = RelationGetDescr(table);
	int			checks = desc->constr == NULL ? 0 : desc->constr->num_check;

	if (!registered)
		CacheRegisterRelcacheCallback(note_relation_change, (Datum) 0);
	registered = true;
	forget(plans);
	plans->expressions = MemoryContextAllocZero(CacheMemoryContext,
												Max(checks + desc->natts, 1) * sizeof(CachedExpression *));
	plans->checks = checks;
	plans->count = checks + desc->natts;
	plans->table = RelationGetRelid(table);
	plans->is_current = true;
	for (int i = 0; i < checks; i++)
	{
		if (UT_IS_ENFORCED(&desc->constr->check[i]))
			plans->expressions[i] = GetCachedExpression(stringToNode(desc->constr->check[i].ccbin));
	}
	for (int i = 0; i < desc->natts; i++)
	{
		Node	   *value = TupleDescAttr(desc, i)->attisdropped ? NULL : build_column_default(table, i + 1);

		if (value != NULL)
			plans->expressions[checks + i] = GetCachedExpression(value);
	}
}

/* ---- Which tables are as we made them ---- */

static bool
has_foreign_trigger(const TriggerDesc *triggers)
{
	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (!trigger->tgisinternal && TRIGGER_FOR_INSERT(trigger->tgtype))
			return true;
	}
	return false;
}

/* A table that a statement would treat as no more than its rows. */
static bool
is_ordinary(Relation table, AclMode needed)
{
	Form_pg_class form = table->rd_rel;

	return form->relkind == RELKIND_RELATION && !form->relispartition &&
		table->rd_rules == NULL && !form->relrowsecurity &&
		pg_class_aclcheck(RelationGetRelid(table), GetUserId(), needed) == ACLCHECK_OK;
}

static bool
is_plain(Relation table, const Shape *shape)
{
	TupleDesc	desc = RelationGetDescr(table);

	if (!is_ordinary(table, ACL_INSERT) || has_foreign_trigger(table->trigdesc) ||
		desc->natts < shape->count || UT_HAS_GENERATED(desc->constr))
		return false;
	for (int i = 0; i < shape->count; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (column->atttypid != shape->types[i] || column->atttypmod != -1)
			return false;
	}
	return true;
}

static bool
open_tables(Writing *writing, const UtDirectRow *rows, int count)
{
	bool		all_plain = true;

	for (int i = 0; i < count; i++)
	{
		Relation   *table = &writing->tables[rows[i].table];
		const Shape *shape = &shapes[rows[i].table];

		if (*table != NULL)
			continue;
		*table = table_openrv(makeRangeVar("unleash_tokens", (char *) shape->name, -1), RowExclusiveLock);
		ut_store_check_table(*table);
		all_plain &= is_plain(*table, shape);
	}
	return all_plain;
}

static void
close_tables(Writing *writing)
{
	for (int i = 0; i < UT_DIRECT_TABLES; i++)
	{
		if (writing->tables[i] != NULL)
			table_close(writing->tables[i], NoLock);
	}
}

/* ---- Writing ---- */

static ExprState *
prepare(CachedExpression *expression)
{
	return expression == NULL ? NULL : ExecInitExpr((Expr *) expression->expr, NULL);
}

/* The executor takes what it finds for checks that it has read before. */
static void
start_table(Writing *writing, UtDirectTable place, Index number)
{
	Relation	table = writing->tables[place];
	ResultRelInfo *result = makeNode(ResultRelInfo);
	Kept	   *plans = &kept[place];

	if (!is_usable(plans, RelationGetRelid(table)))
		plan_anew(plans, table);
	InitResultRelInfo(result, table, number, NULL, 0);
	result->UT_CHECK_EXPRESSIONS = palloc0(Max(plans->checks, 1) * sizeof(ExprState *));
	for (int i = 0; i < plans->checks; i++)
		result->UT_CHECK_EXPRESSIONS[i] = prepare(plans->expressions[i]);
	ExecOpenIndices(result, false);
	writing->estate->es_opened_result_relations =
		lappend(writing->estate->es_opened_result_relations, result);
	writing->results[place] = result;
}

/* Messages of failed checks look into the range table. */
static void
start_writing(Writing *writing)
{
	List	   *entries = NIL;
	List	   *permissions = NIL;
	Index		number = 0;

	for (int i = 0; i < UT_DIRECT_TABLES; i++)
	{
		RangeTblEntry *entry = makeNode(RangeTblEntry);

		if (writing->tables[i] == NULL)
			continue;
		entry->rtekind = RTE_RELATION;
		entry->relid = RelationGetRelid(writing->tables[i]);
		entry->relkind = RELKIND_RELATION;
		entry->rellockmode = RowExclusiveLock;
		UT_ADD_PERMISSIONS(&permissions, entry);
		entries = lappend(entries, entry);
	}
	ut_init_range_table(writing->estate, entries, permissions);
	for (int i = 0; i < UT_DIRECT_TABLES; i++)
	{
		if (writing->tables[i] != NULL)
			start_table(writing, i, ++number);
	}
	writing->estate->es_snapshot = GetActiveSnapshot();
	writing->estate->es_output_cid = GetCurrentCommandId(true);
	AfterTriggerBeginQuery();
}

static void
fill_slot(TupleTableSlot *slot, const UtDirectRow *row, EState *estate)
{
	const Kept *plans = &kept[row->table];
	ExprContext *context = GetPerTupleExprContext(estate);

	ExecClearTuple(slot);
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		bool		is_given = i < row->count && row->nulls[i] != 'd';
		ExprState  *value = is_given ? NULL : prepare(plans->expressions[plans->checks + i]);

		slot->tts_isnull[i] = is_given ? row->nulls[i] == 'n' : value == NULL;
		if (is_given)
			slot->tts_values[i] = row->values[i];
		else if (value != NULL)
			slot->tts_values[i] = ExecEvalExprSwitchContext(value, context, &slot->tts_isnull[i]);
	}
	ExecStoreVirtualTuple(slot);
}

static void
write_rows(Writing *writing, const UtDirectRow *rows, int count)
{
	EState	   *estate = writing->estate;

	start_writing(writing);
	for (int i = 0; i < count; i++)
	{
		TupleTableSlot *slot = table_slot_create(writing->tables[rows[i].table], &estate->es_tupleTable);

		fill_slot(slot, &rows[i], estate);
		ExecSimpleRelationInsert(writing->results[rows[i].table], estate, slot);
		ResetPerTupleExprContext(estate);
	}
	AfterTriggerEndQuery(estate);
	ExecResetTupleTable(estate->es_tupleTable, false);
	ExecCloseResultRelations(estate);
}

/*
 * Under the snapshot that a statement of SPI would have; plans of foreign keys
 * are to be as plan.c wants them.
 */
static void
run_command(Writing *writing, const UtDirectRow *rows, int count)
{
	MemoryContext before;
	bool		usual = enable_seqscan;

	PreventCommandIfReadOnly("INSERT");
	PreventCommandIfParallelMode("INSERT");
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	writing->estate = CreateExecutorState();
	before = MemoryContextSwitchTo(writing->estate->es_query_cxt);
	busy = true;
	enable_seqscan = false;
	PG_TRY();
	{
		write_rows(writing, rows, count);
	}
	PG_FINALLY();
	{
		busy = false;
		enable_seqscan = usual;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(before);
	FreeExecutorState(writing->estate);
	PopActiveSnapshot();
	CommandCounterIncrement();
}

UtDirectResult
ut_direct_insert(const UtDirectRow *rows, int count)
{
	Writing		writing = {0};
	bool		possible;

	ut_version_check();
	possible = open_tables(&writing, rows, count) && !busy;
	if (possible)
		run_command(&writing, rows, count);
	close_tables(&writing);
	return possible ? UT_DIRECT_DONE : UT_DIRECT_NOT;
}

/* ---- Locking ---- */

/* The index of the primary key; NULL when it is not the one we made. */
static Relation
open_key(Relation table)
{
	Relation	index;

	list_free(RelationGetIndexList(table));
	if (!OidIsValid(table->rd_pkindex))
		return NULL;
	index = index_open(table->rd_pkindex, AccessShareLock);
	if (index->rd_index->indisvalid && index->rd_index->indnkeyatts == 1 &&
		index->rd_index->indkey.values[0] == ENVIRONMENT_NAME &&
		index->rd_opfamily[0] == TEXT_BTREE_FAM_OID && index->rd_indcollation[0] == C_COLLATION_OID)
		return index;
	index_close(index, NoLock);
	return NULL;
}

/*
 * As the executor locks rows: the latest version of one that was changed
 * meanwhile, which must still have that name; at the higher isolation levels an
 * error.
 */
static bool
lock_row(Relation table, TupleTableSlot *slot, Snapshot snapshot, Datum name)
{
	TM_FailureData failure;
	int			flags = TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS;
	bool		isnull;
	TM_Result	result;

	if (!IsolationUsesXactSnapshot())
		flags |= TUPLE_LOCK_FLAG_FIND_LAST_VERSION;
	result = table_tuple_lock(table, &slot->tts_tid, snapshot, slot, GetCurrentCommandId(false),
							  LockTupleKeyShare, LockWaitBlock, flags, &failure);
	if (result != TM_Ok && result != TM_SelfModified && IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update")));
	return result == TM_Ok &&
		DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, name,
											 slot_getattr(slot, ENVIRONMENT_NAME, &isnull)));
}

static bool
lock_by_key(Relation table, Relation index, Datum name)
{
	Snapshot	snapshot;
	TupleTableSlot *slot = table_slot_create(table, NULL);
	IndexScanDesc scan;
	ScanKeyData key;
	bool		locked = false;

	PreventCommandIfReadOnly("SELECT FOR KEY SHARE");
	PreventCommandIfParallelMode("SELECT FOR KEY SHARE");
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetTransactionSnapshot());
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_TEXTEQ, name);
	scan = ut_index_beginscan(table, index, snapshot, 1);
	index_rescan(scan, &key, 1, NULL, 0);
	while (!locked && index_getnext_slot(scan, ForwardScanDirection, slot))
		locked = lock_row(table, slot, snapshot, name);
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	return locked;
}

UtDirectResult
ut_direct_lock_environment(const char *name)
{
	Relation	table;
	Relation	index = NULL;
	UtDirectResult result = UT_DIRECT_NOT;

	ut_version_check();
	table = table_openrv(makeRangeVar("unleash_tokens", "environment", -1), RowShareLock);
	if (is_ordinary(table, ACL_SELECT) && is_ordinary(table, ACL_UPDATE))
		index = open_key(table);
	if (index != NULL)
	{
		result = lock_by_key(table, index, CStringGetTextDatum(name)) ? UT_DIRECT_DONE : UT_DIRECT_MISSING;
		index_close(index, NoLock);
	}
	table_close(table, NoLock);
	return result;
}
