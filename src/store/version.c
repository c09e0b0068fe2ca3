/*-------------------------------------------------------------------------
 *
 * version.c
 *	  Do library and SQL objects fit each other?
 *
 * Knows the catalog of extensions and no table of ours.
 *
 * Locking: pg_extension ACCESS SHARE while it is read.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/skey.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "store/version.h"

/* Set when the versions were seen to agree; never reset. */
static bool checked = false;

/* The version of the SQL objects; NULL without the extension. */
static char *
read_installed(void)
{
	Relation	relation = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;
	char	   *version = NULL;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("unleash_tokens"));
	scan = systable_beginscan(relation, ExtensionNameIndexId, true, NULL, 1, &key);
	row = systable_getnext(scan);
	if (HeapTupleIsValid(row))
	{
		bool		isnull;
		Datum		value = heap_getattr(row, Anum_pg_extension_extversion,
										 RelationGetDescr(relation), &isnull);

		version = TextDatumGetCString(value);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return version;
}

/*
 * The statements of the store fit the tables of these versions: a library may
 * be installed before ALTER EXTENSION UPDATE is run.
 */
static bool
is_served(const char *installed)
{
	static const char *const served[] = {UT_VERSION, "1.0"};

	for (int i = 0; i < (int) lengthof(served); i++)
	{
		if (strcmp(installed, served[i]) == 0)
			return true;
	}
	return false;
}

bool
ut_version_agree(char **installed)
{
	*installed = read_installed();
	return *installed != NULL && is_served(*installed);
}

void
ut_version_check(void)
{
	char	   *installed;

	if (checked)
		return;
	if (!ut_version_agree(&installed))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("library and SQL objects of unleash_tokens are of different versions"),
				 errdetail("The library is version %s, the SQL objects are version %s.",
						   UT_VERSION, installed ? installed : "unknown"),
				 errhint("Run ALTER EXTENSION unleash_tokens UPDATE when the objects are older; when the library is, restart the server if it is in shared_preload_libraries, else begin a new session.")));
	checked = true;
}
