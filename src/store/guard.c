/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  Which database role stands for a token, and which projects are there?
 *
 * guard() runs in front of each request of somebody else's API, and what it
 * reads is no business of the roles those requests run as.  So these are scans
 * of an index, as in read.c.
 *
 * Locking: tables ACCESS SHARE to the end of the transaction, as SELECT does;
 * the catalog of settings only while it is read.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_db_role_setting.h"
#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/sinval.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "store/guard.h"
#include "store/plan.h"
#include "store/recall.h"
#include "store/row.h"
#include "store/store.h"
#include "store/version.h"

/* Columns of guard_role; those that choose a row come first. */
#define GUARD_CHOICES 3
#define GUARD_ROLE 4
#define REGISTRY_ID 1

static Oid
find_relation(const char *name)
{
	Oid			relation = get_relname_relid(name, get_namespace_oid("unleash_tokens", false));

	if (!OidIsValid(relation))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"unleash_tokens.%s\" does not exist", name)));
	return relation;
}

/* InvalidOid when it is not there or lacks rows: then the table is read whole. */
static Oid
find_index(const char *name)
{
	Oid			index = get_relname_relid(name, get_namespace_oid("unleash_tokens", false));

	return OidIsValid(index) && get_rel_relkind(index) == RELKIND_INDEX && get_index_isvalid(index) ?
		index : InvalidOid;
}

/* ---- The role of a token ---- */

/* NULL is a value like another; a scan of the table cannot look for it. */
static bool
has_choices(HeapTuple row, TupleDesc desc, char *const *choices)
{
	for (int i = 0; i < GUARD_CHOICES; i++)
	{
		bool		isnull;
		Datum		value = heap_getattr(row, i + 1, desc, &isnull);

		if (isnull != (choices[i] == NULL) ||
			(!isnull && strcmp(TextDatumGetCString(value), choices[i]) != 0))
			return false;
	}
	return true;
}

/* The row of exactly these. */
static char *
read_role(Relation relation, Oid index, Snapshot snapshot, char *const *choices)
{
	ScanKeyData keys[GUARD_CHOICES];
	SysScanDesc scan;
	HeapTuple	row;
	char	   *role = NULL;

	for (int i = 0; i < GUARD_CHOICES; i++)
	{
		if (choices[i] != NULL)
			ScanKeyInit(&keys[i], i + 1, BTEqualStrategyNumber, F_TEXTEQ,
						CStringGetTextDatum(choices[i]));
		else
			ScanKeyEntryInitialize(&keys[i], SK_ISNULL | SK_SEARCHNULL, i + 1,
								   InvalidStrategy, InvalidOid, InvalidOid, InvalidOid, (Datum) 0);
	}
	scan = systable_beginscan(relation, index, OidIsValid(index), snapshot,
							  OidIsValid(index) ? GUARD_CHOICES : 0, keys);
	do
		row = systable_getnext(scan);
	while (HeapTupleIsValid(row) && !has_choices(row, RelationGetDescr(relation), choices));
	if (HeapTupleIsValid(row))
	{
		bool		isnull;
		Datum		value = heap_getattr(row, GUARD_ROLE, RelationGetDescr(relation), &isnull);

		role = TextDatumGetCString(value);
	}
	systable_endscan(scan);
	return role;
}

/*
 * From the row that says most to the one that says nothing: the type counts
 * more than the environment, and that more than the project.
 */
static void
read_best(Relation relation, Oid index, const UtGuardRole *kind, UtGuardRole *found)
{
	char	   *said[GUARD_CHOICES] = {kind->type, kind->environment, kind->project};
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());

	found->role = NULL;
	for (int left_out = 0; left_out < 1 << GUARD_CHOICES && found->role == NULL; left_out++)
	{
		bool		is_other = true;
		char	   *choices[GUARD_CHOICES];

		for (int i = 0; i < GUARD_CHOICES; i++)
		{
			bool		leave = left_out & (1 << (GUARD_CHOICES - 1 - i));

			is_other = is_other && (leave || said[i] != NULL);
			choices[i] = leave ? NULL : said[i];
		}
		if (!is_other)
			continue;			/* the same as one that leaves out less */
		found->role = read_role(relation, index, snapshot, choices);
		found->type = choices[0];
		found->environment = choices[1];
		found->project = choices[2];
	}
	UnregisterSnapshot(snapshot);
}

bool
ut_store_find_guard_role(const UtToken *token, UtGuardRole *found)
{
	UtGuardRole kind = {
		.type = (char *) ut_token_type_names[token->type],
		.environment = token->environment,
		.project = !token->scope.all && token->scope.count == 1 ? token->scope.ids[0] : NULL
	};
	Relation	relation;
	Oid			index;
	uint32		as_of;

	ut_version_check();
	if (ut_recall_find(&kind, found))
		return found->role != NULL;
	relation = table_open(find_relation("guard_role"), AccessShareLock);
	index = find_index("guard_role_key");
	if (OidIsValid(index))		/* as latest.h says: locks first, then the
								 * snapshot */
		LockRelationOid(index, AccessShareLock);
	as_of = ut_recall_now(RelationGetRelid(relation));
	read_best(relation, index, &kind, found);
	ut_recall_keep(relation, as_of, &kind, found);
	table_close(relation, NoLock);
	return found->role != NULL;
}

/* The server tells of it as of a changed table, when the transaction commits; see recall.c. */
void
ut_store_tell_sessions(Relation table)
{
	CacheInvalidateRelcache(table);
}

static void
fill_choices(const UtGuardRole *row, Datum *values, char *nulls)
{
	values[0] = ut_row_text(row->type, &nulls[0]);
	values[1] = ut_row_text(row->environment, &nulls[1]);
	values[2] = ut_row_text(row->project, &nulls[2]);
}

void
ut_store_set_guard_role(const UtGuardRole *row)
{
	Datum		values[GUARD_ROLE];
	char		nulls[] = "    ";

	ut_store_open();
	fill_choices(row, values, nulls);
	values[GUARD_ROLE - 1] = CStringGetTextDatum(row->role);
	ut_store_expect(ut_store_run(UT_PLAN_SET_GUARD_ROLE, values, nulls, UT_VIEW_USUAL), 1);
	ut_store_close();
}

bool
ut_store_drop_guard_role(const UtGuardRole *row)
{
	Datum		values[GUARD_CHOICES];
	char		nulls[] = "   ";
	uint64		locked;

	ut_store_open();
	fill_choices(row, values, nulls);
	locked = ut_store_run(UT_PLAN_LOCK_GUARD_ROLE, values, nulls, UT_VIEW_USUAL);
	ut_store_expect(ut_store_run(UT_PLAN_DROP_GUARD_ROLE, values, nulls, UT_VIEW_USUAL), locked);
	ut_store_close();
	return locked > 0;
}

/* ---- The registry of projects ---- */

/*
 * A reader is called in policies, where it must see what its statement sees;
 * and whoever runs the statement has no right to the registry.
 */
static List *
read_projects(int nkeys, ScanKey key)
{
	Relation	relation = table_open(find_relation("project"), AccessShareLock);
	Oid			index = nkeys > 0 ? find_index("project_pkey") : InvalidOid;
	SysScanDesc scan = systable_beginscan(relation, index, OidIsValid(index),
										  GetActiveSnapshot(), nkeys, key);
	HeapTuple	row;
	List	   *ids = NIL;

	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		id = heap_getattr(row, REGISTRY_ID, RelationGetDescr(relation), &isnull);

		ids = lappend(ids, TextDatumGetCString(id));
	}
	systable_endscan(scan);
	table_close(relation, NoLock);
	return ids;
}

bool
ut_store_is_project(const char *id)
{
	ScanKeyData key;

	ScanKeyInit(&key, REGISTRY_ID, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(id));
	return read_projects(1, &key) != NIL;
}

List *
ut_store_list_projects(void)
{
	return read_projects(0, NULL);
}

/* ---- What the server knows of a role ---- */

static bool
owns_table(Oid role, const char *table)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(find_relation(table)));
	bool		owns;

	if (!HeapTupleIsValid(tuple))
		return false;
	owns = ((Form_pg_class) GETSTRUCT(tuple))->relowner == role;
	ReleaseSysCache(tuple);
	return owns;
}

bool
ut_store_is_owner(Oid role)
{
	static const char *const tables[] = {
		"project", "environment", "api_token", "api_token_project", "api_token_event",
		"backup_row", "guard_role"
	};
	Oid			schema = get_namespace_oid("unleash_tokens", false);
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
	bool		owns = false;

	if (HeapTupleIsValid(tuple))
	{
		owns = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner == role;
		ReleaseSysCache(tuple);
	}
	for (int i = 0; i < (int) lengthof(tables) && !owns; i++)
		owns = owns_table(role, tables[i]);
	return owns;
}

static List *
add_settings(List *settings, TupleTableSlot *slot)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, Anum_pg_db_role_setting_setconfig, &isnull);
	int			count;
	char	  **texts;

	if (isnull)
		return settings;
	texts = ut_row_read_texts(DatumGetArrayTypePCopy(value), &count);
	for (int i = 0; i < count; i++)
		settings = lappend(settings, texts[i]);
	return settings;
}

static List *
read_settings(Oid role, Relation table, Relation index, Snapshot snapshot)
{
	Oid			databases[] = {InvalidOid, MyDatabaseId};
	TupleTableSlot *slot = table_slot_create(table, NULL);
	IndexScanDesc scan = ut_index_beginscan(table, index, snapshot, 2);
	List	   *settings = NIL;

	for (int i = 0; i < (int) lengthof(databases); i++)
	{
		ScanKeyData keys[2];

		ScanKeyInit(&keys[0], Anum_pg_db_role_setting_setdatabase, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(databases[i]));
		ScanKeyInit(&keys[1], Anum_pg_db_role_setting_setrole, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(role));
		index_rescan(scan, keys, 2, NULL, 0);
		if (index_getnext_slot(scan, ForwardScanDirection, slot))
			settings = add_settings(settings, slot);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return settings;
}

List *
ut_store_list_role_settings(Oid role)
{
	Relation	table;
	Relation	index;
	Snapshot	snapshot;
	uint64		as_of;
	List	   *settings;

	if (ut_recall_find_settings(role, &settings))
		return settings;
	table = table_open(DbRoleSettingRelationId, AccessShareLock);
	index = index_open(DbRoleSettingDatidRolidIndexId, AccessShareLock);
	as_of = SharedInvalidMessageCounter;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	settings = read_settings(role, table, index, snapshot);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(table, AccessShareLock);
	ut_recall_keep_settings(as_of, role, settings);
	return settings;
}
