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
#include "catalog/pg_collation.h"
#include "catalog/pg_opfamily.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/contact.h"
#include "store/latest.h"
#include "store/row.h"
#include "store/version.h"

/* What a row is found by is the first column of each table, and of each index. */
#define FIRST_COLUMN 1

static const char *const table_names[UT_TABLES] = {
	"api_token", "api_token_project", "project", "environment"
};

/* How often the server has said that something of ours may have changed. */
static uint32 changes = 0;

/*
 * Which tables and indexes these are, until something changes.  The server says
 * so at the latest when a lock is granted.
 */
static struct
{
	bool		is_complete;
	uint32		as_of;			/* of changes */
	Oid			tables[UT_TABLES];
	Oid			indexes[UT_LOOKUPS];
	Oid			verifier_index;
}			known;

static void
note_schema_change(Datum arg, int cache, uint32 hash)
{
	changes++;
}

static void
note_relation_change(Datum arg, Oid relation)
{
	bool		is_ours = !OidIsValid(relation) || relation == known.verifier_index;

	for (int i = 0; i < UT_TABLES; i++)
		is_ours |= relation == known.tables[i];
	for (int i = 0; i < UT_LOOKUPS; i++)
		is_ours |= relation == known.indexes[i];
	if (is_ours)
		changes++;
}

static void
look_up_tables(void)
{
	static bool registered = false;
	Oid			schema;

	if (!registered)
	{
		CacheRegisterSyscacheCallback(NAMESPACEOID, note_schema_change, (Datum) 0);
		CacheRegisterRelcacheCallback(note_relation_change, (Datum) 0);
		registered = true;
	}
	known.is_complete = false;
	known.as_of = changes;
	schema = get_namespace_oid("unleash_tokens", false);
	for (int i = 0; i < UT_TABLES; i++)
	{
		known.tables[i] = get_relname_relid(table_names[i], schema);
		if (!OidIsValid(known.tables[i]))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("relation \"unleash_tokens.%s\" does not exist", table_names[i])));
	}
	memset(known.indexes, 0, sizeof(known.indexes));
	known.verifier_index = InvalidOid;
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
serves(Relation index, AttrNumber column)
{
	bool		is_digest = column == UT_COLUMN_VERIFIER;

	return is_usable(index->rd_index, column) &&
		index->rd_opfamily[0] == (is_digest ? BYTEA_BTREE_FAM_OID : TEXT_BTREE_FAM_OID) &&
		index->rd_indcollation[0] == (is_digest ? InvalidOid : C_COLLATION_OID) &&
		holds_all(index, is_digest);
}

/* InvalidOid when there is none: then the table is read whole. */
static Oid
find_index(Relation table, AttrNumber column)
{
	List	   *indexes = RelationGetIndexList(table);
	Oid			found = InvalidOid;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index;

		if (OidIsValid(found) || !seems_usable(lfirst_oid(cell), column))
			continue;
		index = index_open(lfirst_oid(cell), AccessShareLock);
		if (serves(index, column))
			found = lfirst_oid(cell);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return found;
}

/* Once the tables are locked, so that none of their indexes goes away. */
static void
look_up_indexes(void)
{
	for (int i = 0; i < UT_LOOKUPS; i++)
	{
		Relation	table = relation_open(known.tables[i], NoLock);

		if (table->rd_rel->relkind != RELKIND_RELATION)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("\"unleash_tokens.%s\" is not a table", table_names[i])));
		known.indexes[i] = find_index(table, FIRST_COLUMN);
		if (i == UT_TABLE_TOKEN)
			known.verifier_index = find_index(table, UT_COLUMN_VERIFIER);
		relation_close(table, NoLock);
	}
}

/* A plan may use any index, and would wait for it with its snapshot taken. */
static void
lock_all_indexes(void)
{
	for (int i = 0; i < UT_TABLES; i++)
	{
		Relation	table = relation_open(known.tables[i], NoLock);
		List	   *indexes = RelationGetIndexList(table);
		ListCell   *cell;

		foreach(cell, indexes)
			LockRelationOid(lfirst_oid(cell), AccessShareLock);
		list_free(indexes);
		relation_close(table, NoLock);
	}
}

/* Lock what is known; false when something had changed before the last lock. */
static bool
lock_known(UtBy by)
{
	if (!known.is_complete || known.as_of != changes)
		look_up_tables();
	for (int i = 0; i < (by == UT_BY_STATEMENT ? UT_TABLES : UT_LOOKUPS); i++)
		LockRelationOid(known.tables[i], AccessShareLock);
	if (!known.is_complete && known.as_of == changes)
	{
		look_up_indexes();
		known.is_complete = true;
	}
	if (known.as_of != changes)
		return false;
	if (by == UT_BY_STATEMENT)
		lock_all_indexes();
	for (int i = 0; i < UT_LOOKUPS; i++)
	{
		Oid			index = i == UT_TABLE_TOKEN && by == UT_BY_VERIFIER ? known.verifier_index : known.indexes[i];

		if (OidIsValid(index))
			LockRelationOid(index, AccessShareLock);
	}
	return known.as_of == changes;
}

/*
 * On a standby a lock on the table does not keep an index from being dropped
 * concurrently, and one that is to go gets no new rows: then it must not be used
 * with a snapshot that shows them.
 */
static bool
take_snapshot(UtLatest *latest)
{
	latest->snapshot = RegisterSnapshot(GetLatestSnapshot());
	AcceptInvalidationMessages();
	if (known.as_of != changes)
		UnregisterSnapshot(latest->snapshot);
	return known.as_of == changes;
}

/*
 * A lock that turned out to be none of ours is kept to the end of the
 * transaction too: whoever removed what it was on has ended.
 */
void
ut_latest_open(UtLatest *latest, UtBy by)
{
	UtProblem	problem;

	memset(latest, 0, sizeof(UtLatest));
	latest->context = CurrentMemoryContext;
	ut_version_check();
	if (!ut_contact_permit(&problem))
		ut_problem_raise(&problem);
	while (!lock_known(by) || !take_snapshot(latest))
		CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < UT_LOOKUPS; i++)
	{
		latest->lookups[i].table_oid = known.tables[i];
		latest->lookups[i].index_oid = known.indexes[i];
		latest->lookups[i].column = FIRST_COLUMN;
	}
	if (by == UT_BY_VERIFIER)
	{
		latest->lookups[UT_TABLE_TOKEN].index_oid = known.verifier_index;
		latest->lookups[UT_TABLE_TOKEN].column = UT_COLUMN_VERIFIER;
	}
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
	for (int i = 0; i < UT_LOOKUPS; i++)
	{
		UtLookup   *lookup = &latest->lookups[i];

		if (lookup->table == NULL)
			continue;
		end_scan(lookup);
		ExecDropSingleTupleTableSlot(lookup->slot);
		if (lookup->index != NULL)
			index_close(lookup->index, NoLock);
		relation_close(lookup->table, NoLock);
	}
	UnregisterSnapshot(latest->snapshot);
}

static void
open_lookup(UtLookup *lookup)
{
	lookup->table = relation_open(lookup->table_oid, NoLock);
	if (OidIsValid(lookup->index_oid))
		lookup->index = index_open(lookup->index_oid, NoLock);
	lookup->slot = table_slot_create(lookup->table, NULL);
}

static void
seek(UtLookup *lookup, Snapshot snapshot, Datum value)
{
	RegProcedure equal = lookup->column == UT_COLUMN_VERIFIER ? F_BYTEAEQ : F_TEXTEQ;
	ScanKeyData key;

	if (lookup->table == NULL)
		open_lookup(lookup);
	if (lookup->index == NULL)
	{
		end_scan(lookup);
		ScanKeyInit(&key, lookup->column, BTEqualStrategyNumber, equal, value);
		lookup->table_scan = table_beginscan(lookup->table, snapshot, 1, &key);
		return;
	}
	ScanKeyInit(&key, FIRST_COLUMN, BTEqualStrategyNumber, equal, value);
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
