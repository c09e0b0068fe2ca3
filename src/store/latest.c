/*-------------------------------------------------------------------------
 *
 * latest.c
 *	  How do we see what is committed now?
 *
 * Look-ups are plain scans of an index: no plan, no executor, no privileges of
 * the caller and no search_path.  An index is chosen for what it is, never for
 * its name; without one the table is read whole.
 *
 * Knows which tables there are, and what an index must be, but no tokens.  The
 * locking rule is in latest.h.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/skey.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_opfamily.h"
#include "executor/tuptable.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "store/latest.h"
#include "store/row.h"
#include "store/version.h"

static const char *const table_names[UT_TABLES] = {
	"api_token", "api_token_project", "project"
};

/* Where each was found last, in this session; looked at again each time. */
static Oid	table_oids[UT_TABLES];

/*
 * Lock and open a table.  What the catalogs said before the lock was granted may
 * be over, so it is asked for its name and place again.
 */
static Relation
open_table(UtTable table, Oid *schema)
{
	for (;;)
	{
		Oid			oid = table_oids[table];
		Relation	relation = OidIsValid(oid) ? try_relation_open(oid, AccessShareLock) : NULL;

		if (relation != NULL && RelationGetNamespace(relation) == *schema &&
			strcmp(RelationGetRelationName(relation), table_names[table]) == 0)
		{
			if (relation->rd_rel->relkind != RELKIND_RELATION)
				ereport(ERROR,
						(errcode(ERRCODE_WRONG_OBJECT_TYPE),
						 errmsg("\"unleash_tokens.%s\" is not a table", table_names[table])));
			return relation;
		}
		if (relation != NULL)
			relation_close(relation, AccessShareLock);
		*schema = get_namespace_oid("unleash_tokens", false);
		table_oids[table] = get_relname_relid(table_names[table], *schema);
		if (!OidIsValid(table_oids[table]))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("relation \"unleash_tokens.%s\" does not exist", table_names[table])));
	}
}

/*
 * Is it complete, and is this column its first one?  What a CREATE INDEX
 * CONCURRENTLY leaves when it is cut off lacks rows.
 */
static bool
is_usable(Form_pg_index form, AttrNumber column)
{
	return form->indisvalid && form->indisready && form->indislive &&
		form->indkey.values[0] == column;
}

/* The same, before the index is locked: nobody is to wait for one he does not need. */
static bool
seems_usable(Oid index, AttrNumber column)
{
	HeapTuple	row = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	bool		usable = HeapTupleIsValid(row) && is_usable((Form_pg_index) GETSTRUCT(row), column);

	if (HeapTupleIsValid(row))
		ReleaseSysCache(row);
	return usable;
}

/* Has it a row for each that is looked for?  Of digests only imported ones matter. */
static bool
holds_all(Relation index, bool imported)
{
	List	   *predicate = RelationGetIndexPredicate(index);
	Var		   *only;

	if (predicate == NIL || !imported)
		return predicate == NIL;
	only = linitial(predicate);
	return list_length(predicate) == 1 && IsA(only, Var) && only->varattno == UT_COLUMN_BY_VERIFIER;
}

/* Is it a tree in the order that our comparison has? */
static bool
serves(Relation index, const UtLookup *lookup)
{
	bool		is_digest = lookup->equal == F_BYTEAEQ;

	return index->rd_rel->relam == BTREE_AM_OID && is_usable(index->rd_index, lookup->column) &&
		index->rd_opfamily[0] == (is_digest ? BYTEA_BTREE_FAM_OID : TEXT_BTREE_FAM_OID) &&
		index->rd_indcollation[0] == (is_digest ? InvalidOid : C_COLLATION_OID) &&
		holds_all(index, is_digest);
}

/* None of the indexes of a locked table goes away. */
static Relation
open_index(const UtLookup *lookup)
{
	List	   *indexes = RelationGetIndexList(lookup->table);
	Relation	found = NULL;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		if (!seems_usable(lfirst_oid(cell), lookup->column))
			continue;
		found = index_open(lfirst_oid(cell), AccessShareLock);
		if (serves(found, lookup))
			break;
		index_close(found, AccessShareLock);
		found = NULL;
	}
	list_free(indexes);
	return found;
}

/* A plan may use any index, and would wait for it with its snapshot taken. */
static void
lock_indexes(Relation table)
{
	List	   *indexes = RelationGetIndexList(table);
	ListCell   *cell;

	foreach(cell, indexes)
		LockRelationOid(lfirst_oid(cell), AccessShareLock);
	list_free(indexes);
}

void
ut_latest_open(UtLatest *latest, UtBy by)
{
	Oid			schema;

	memset(latest, 0, sizeof(UtLatest));
	latest->context = CurrentMemoryContext;
	ut_version_check();
	schema = get_namespace_oid("unleash_tokens", false);
	for (int i = 0; i < UT_TABLES; i++)
	{
		UtLookup   *lookup = &latest->lookups[i];

		lookup->table = open_table((UtTable) i, &schema);
		/* what a row is found by is the first column in each table */
		lookup->column = 1;
		lookup->equal = F_TEXTEQ;
	}
	if (by == UT_BY_VERIFIER)
	{
		latest->lookups[UT_TABLE_TOKEN].column = UT_COLUMN_VERIFIER;
		latest->lookups[UT_TABLE_TOKEN].equal = F_BYTEAEQ;
	}
	for (int i = 0; i < UT_TABLES; i++)
	{
		if (by == UT_BY_STATEMENT)
			lock_indexes(latest->lookups[i].table);
		if (by != UT_BY_STATEMENT || i != UT_TABLE_TOKEN)
			latest->lookups[i].index = open_index(&latest->lookups[i]);
	}
	latest->snapshot = RegisterSnapshot(GetLatestSnapshot());
}

static void
end_scan(UtLookup *lookup)
{
	if (lookup->index_scan != NULL)
		index_endscan(lookup->index_scan);
	if (lookup->table_scan != NULL)
		table_endscan(lookup->table_scan);
	lookup->index_scan = NULL;
	lookup->table_scan = NULL;
}

void
ut_latest_close(UtLatest *latest)
{
	for (int i = 0; i < UT_TABLES; i++)
	{
		UtLookup   *lookup = &latest->lookups[i];

		end_scan(lookup);
		if (lookup->slot != NULL)
			ExecDropSingleTupleTableSlot(lookup->slot);
		if (lookup->index != NULL)
			index_close(lookup->index, NoLock);
		relation_close(lookup->table, NoLock);
	}
	UnregisterSnapshot(latest->snapshot);
}

static void
seek(UtLookup *lookup, Snapshot snapshot, Datum value)
{
	ScanKeyData key;

	if (lookup->slot == NULL)
		lookup->slot = table_slot_create(lookup->table, NULL);
	if (lookup->index == NULL)
	{
		end_scan(lookup);
		ScanKeyInit(&key, lookup->column, BTEqualStrategyNumber, lookup->equal, value);
		lookup->table_scan = table_beginscan(lookup->table, snapshot, 1, &key);
		return;
	}
	/* in an index it is the first column */
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, lookup->equal, value);
	if (lookup->index_scan == NULL)
		lookup->index_scan = ut_index_beginscan(lookup->table, lookup->index, snapshot, 1);
	index_rescan(lookup->index_scan, &key, 1, NULL, 0);
}

/* What a scan keeps must outlive what its caller throws away between two rows. */
void
ut_latest_seek(UtLatest *latest, UtTable table, Datum value)
{
	MemoryContext before = MemoryContextSwitchTo(latest->context);

	seek(&latest->lookups[table], latest->snapshot, value);
	MemoryContextSwitchTo(before);
}

TupleTableSlot *
ut_latest_next(UtLatest *latest, UtTable table)
{
	MemoryContext before = MemoryContextSwitchTo(latest->context);
	UtLookup   *lookup = &latest->lookups[table];
	bool		found;

	if (lookup->index_scan != NULL)
		found = index_getnext_slot(lookup->index_scan, ForwardScanDirection, lookup->slot);
	else
		found = table_scan_getnextslot(lookup->table_scan, ForwardScanDirection, lookup->slot);
	MemoryContextSwitchTo(before);
	return found ? lookup->slot : NULL;
}
