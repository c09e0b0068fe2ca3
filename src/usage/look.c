/*-------------------------------------------------------------------------
 *
 * look.c
 *	  Which databases are looked at, whether tokens are used there or not?
 *
 * All but templates and those that allow no connections, once an hour and soon
 * after a start, as the catalog has them: whether the extension is there only a
 * worker can see.  On a standby none is: its primary does.
 *
 * Locking: pg_database ACCESS SHARE while it is read.
 *
 * Knows no table of ours, and not when a worker gets its turn.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "lib/qunique.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "usage/look.h"
#include "usage/notice.h"

#define LOOK_MS (3600 * 1000)

/* When all were listed last; 0: they are to be, soon. */
static TimestampTz listed_at = 0;

/* Those that have not had a worker since. */
static Oid *waiting = NULL;
static int	nwaiting = 0;

TimestampTz
ut_look_next(void)
{
	const int  *days;

	if (RecoveryInProgress() || ut_notice_days(&days) == 0)
		return DT_NOEND;
	return listed_at == 0 ? 0 : TimestampTzPlusMilliseconds(listed_at, LOOK_MS);
}

void
ut_look_soon(void)
{
	listed_at = 0;
}

static bool
is_looked_at(Form_pg_database database)
{
	return database->datallowconn && !database->datistemplate &&
		database->datconnlimit != UT_DATABASE_INVALID;
}

void
ut_look_begin(void)
{
	TimestampTz now = GetCurrentTimestamp();
	Relation	catalog;
	SysScanDesc scan;
	HeapTuple	row;

	if (ut_look_next() > now)
		return;
	if (waiting == NULL)
		waiting = MemoryContextAlloc(TopMemoryContext, sizeof(Oid));
	nwaiting = 0;
	catalog = table_open(DatabaseRelationId, AccessShareLock);
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(row);

		if (!is_looked_at(database))
			continue;
		waiting = repalloc(waiting, (nwaiting + 1) * sizeof(Oid));
		waiting[nwaiting++] = database->oid;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	listed_at = now;
}

Oid *
ut_look_add(const Oid *databases, int *count)
{
	Oid		   *all = palloc((*count + nwaiting + 1) * sizeof(Oid));

	memcpy(all, databases, *count * sizeof(Oid));
	memcpy(all + *count, waiting, nwaiting * sizeof(Oid));
	*count += nwaiting;
	qsort(all, *count, sizeof(Oid), oid_cmp);
	*count = qunique(all, *count, sizeof(Oid), oid_cmp);
	return all;
}

void
ut_look_done(Oid database)
{
	int			left = 0;

	for (int i = 0; i < nwaiting; i++)
	{
		if (waiting[i] != database)
			waiting[left++] = waiting[i];
	}
	nwaiting = left;
}
