/*-------------------------------------------------------------------------
 *
 * read.c
 *	  How is one token read, as it is committed now, without a statement?
 *
 * Validation is the call that is made most.  Its look-ups are plain scans of
 * an index under the latest snapshot: no plan, no executor, no privileges of
 * the caller and no search_path.  Without the index the table is read whole.
 *
 * Locking: tables ACCESS SHARE to the end of the transaction, as SELECT does.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/skey.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "store/store.h"
#include "store/plan.h"
#include "store/row.h"
#include "store/version.h"

/* Columns of api_token_project and project. */
#define PROJECT_SELECTOR 1
#define PROJECT_PROJECT 2
#define PROJECT_ORD 3
#define REGISTRY_ID 1

/* A project of a token, with its place. */
typedef struct Place
{
	int			ord;
	char	   *id;
} Place;

/* A scan of a table of ours, or of its index. */
typedef struct Lookup
{
	Relation	relation;
	SysScanDesc scan;
} Lookup;

/* Find the rows whose column equals a value. */
static Lookup
begin_scan(const char *table, const char *index, AttrNumber column, RegProcedure equal,
		   Datum value, Snapshot snapshot)
{
	Oid			schema = get_namespace_oid("unleash_tokens", false);
	Oid			index_oid = get_relname_relid(index, schema);
	Oid			table_oid = get_relname_relid(table, schema);
	ScanKeyData key;
	Lookup		result;

	if (!OidIsValid(table_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"unleash_tokens.%s\" does not exist", table)));
	result.relation = table_open(table_oid, AccessShareLock);
	ScanKeyInit(&key, column, BTEqualStrategyNumber, equal, value);
	result.scan = systable_beginscan(result.relation, index_oid, OidIsValid(index_oid),
									 snapshot, 1, &key);
	return result;
}

static void
end_scan(Lookup *scan)
{
	systable_endscan(scan->scan);
	table_close(scan->relation, NoLock);
}

static bool
is_project(Datum id, Snapshot snapshot)
{
	Lookup		scan = begin_scan("project", "project_pkey", REGISTRY_ID, F_TEXTEQ, id, snapshot);
	bool		found = HeapTupleIsValid(systable_getnext(scan.scan));

	end_scan(&scan);
	return found;
}

static int
compare_places(const void *a, const void *b)
{
	return ((const Place *) a)->ord - ((const Place *) b)->ord;
}

/* Only projects that exist: a scope never widens, whatever became of the keys. */
static void
read_scope(const char *selector, Snapshot snapshot, UtScope *scope)
{
	Lookup		scan = begin_scan("api_token_project", "api_token_project_pkey", PROJECT_SELECTOR,
								  F_TEXTEQ, CStringGetTextDatum(selector), snapshot);
	int			room = 8;
	Place	   *places = palloc(room * sizeof(Place));
	HeapTuple	row;

	while (HeapTupleIsValid(row = systable_getnext(scan.scan)))
	{
		TupleDesc	desc = RelationGetDescr(scan.relation);
		bool		isnull;
		Datum		project = heap_getattr(row, PROJECT_PROJECT, desc, &isnull);

		if (!is_project(project, snapshot))
			continue;
		if (scope->count == room)
			places = repalloc(places, (room *= 2) * sizeof(Place));
		places[scope->count].ord = DatumGetInt32(heap_getattr(row, PROJECT_ORD, desc, &isnull));
		places[scope->count++].id = TextDatumGetCString(project);
	}
	end_scan(&scan);
	qsort(places, scope->count, sizeof(Place), compare_places);
	scope->ids = palloc(Max(scope->count, 1) * sizeof(char *));
	for (int i = 0; i < scope->count; i++)
		scope->ids[i] = places[i].id;
	pfree(places);
}

static bool
read_token(const char *index, AttrNumber column, RegProcedure equal, Datum key, UtToken *token)
{
	Snapshot	snapshot;
	Lookup		scan;
	HeapTuple	row;
	bool		found;

	ut_version_check();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = begin_scan("api_token", index, column, equal, key, snapshot);
	row = systable_getnext(scan.scan);
	found = HeapTupleIsValid(row);
	if (found)
	{
		ut_row_fill_token(row, RelationGetDescr(scan.relation), token);
		if (!token->scope.all)
			read_scope(token->selector, snapshot, &token->scope);
	}
	end_scan(&scan);
	UnregisterSnapshot(snapshot);
	return found;
}

bool
ut_store_find(const char *selector, UtToken *token)
{
	return read_token("api_token_pkey", UT_COLUMN_SELECTOR, F_TEXTEQ,
					  CStringGetTextDatum(selector), token);
}

bool
ut_store_find_by_verifier(const uint8 *verifier, UtToken *token)
{
	return read_token("api_token_verifier_idx", UT_COLUMN_VERIFIER, F_BYTEAEQ,
					  ut_row_bytea(verifier, UT_VERIFIER_LEN), token);
}
