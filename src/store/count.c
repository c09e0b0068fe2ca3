/*-------------------------------------------------------------------------
 *
 * count.c
 *	  How many tokens are there of each type and state, and what does doctor()
 *	  find?
 *
 * Some pages of the table at a time, in their order: it is read from front to
 * end as fast as any way there is, and no transaction lasts long.
 *
 * Locking: the table ACCESS SHARE.
 *
 * Knows nothing of HTTP and JSON bodies, nor who wants to know it.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "storage/bufmgr.h"
#include "storage/itemptr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "store/count.h"
#include "store/plan.h"
#include "store/row.h"
#include "store/trust.h"

#define PAGES 2048				/* at once: some 50,000 tokens, 30 ms */

const int	ut_count_days[UT_HORIZONS] = {1, 7, 30};

const char *const ut_count_status_names[UT_CHECK_STATUSES] = {"ok", "warning", "error", "unknown"};

static int64
read_number(uint64 row, int column)
{
	bool		isnull;

	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull));
}

/* The place of a text in a list, or -1. */
static int
read_choice(uint64 row, int column, const char *const *names, int count)
{
	char	   *value = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);

	for (int i = 0; value != NULL && i < count; i++)
	{
		if (strcmp(value, names[i]) == 0)
			return i;
	}
	return -1;
}

/* A row for each type and state: these, how many, and how many of them expire soon. */
static void
add_counts(uint64 rows, UtTokenCounts *counts)
{
	for (uint64 row = 0; row < rows; row++)
	{
		int			type = read_choice(row, 1, ut_token_type_names, UT_TOKEN_TYPES);
		int64		state = read_number(row, 2);

		if (type < 0)
			continue;			/* its check was taken away */
		counts->tokens[type][state] += read_number(row, 3);
		for (int i = 0; i < UT_HORIZONS && state != UT_STATE_EXPIRED; i++)
			counts->expiring[i] += read_number(row, 4 + i);
	}
}

/* The last part has no end, so that rows in tables that inherit are in it. */
bool
ut_store_count_tokens(uint32 *page, UtTokenCounts *counts)
{
	UtOwner		owner;
	ItemPointerData from;
	ItemPointerData to;
	BlockNumber pages;
	bool		more;
	Datum		values[6] = {PointerGetDatum(&from), PointerGetDatum(&to), TimestampTzGetDatum(GetCurrentTimestamp())};

	ut_store_become_owner("api_token", AccessShareLock, &owner);
	pages = RELKIND_HAS_STORAGE(owner.table->rd_rel->relkind) ? RelationGetNumberOfBlocks(owner.table) : 0;
	more = *page + PAGES < pages;
	ItemPointerSet(&from, *page, 0);
	ItemPointerSet(&to, more ? *page + PAGES : MaxBlockNumber, 0);
	for (int i = 0; i < UT_HORIZONS; i++)
		values[3 + i] = TimestampTzGetDatum(DatumGetTimestampTz(values[2]) + ut_count_days[i] * USECS_PER_DAY);
	ut_store_open();
	add_counts(ut_store_run(UT_PLAN_COUNT_STATES, values, NULL, UT_VIEW_USUAL), counts);
	ut_store_close();
	ut_store_leave_owner(&owner);
	*page += PAGES;
	return more;
}

/* What doctor() makes of a finding. */
static UtCheckStatus
judge(HeapTupleHeader finding)
{
	bool		isnull;
	Datum		problems = GetAttributeByName(finding, "problems", &isnull);
	char	   *severity;

	if (isnull)
		return UT_CHECK_UNKNOWN;
	if (ArrayGetNItems(ARR_NDIM(DatumGetArrayTypeP(problems)), ARR_DIMS(DatumGetArrayTypeP(problems))) == 0)
		return UT_CHECK_OK;
	severity = TextDatumGetCString(GetAttributeByName(finding, "severity", &isnull));
	return strcmp(severity, ut_count_status_names[UT_CHECK_ERROR]) == 0 ? UT_CHECK_ERROR : UT_CHECK_WARNING;
}

/* One by one, and called directly: each has its time, and the slow ones depend on how many tokens there are. */
bool
ut_store_count_check(int *check, UtCheckCounts *counts)
{
	UtOwner		owner;
	Datum		place = Int64GetDatum((*check)++);
	bool		found;

	ut_store_become_owner("api_token", AccessShareLock, &owner);
	ut_store_open();
	found = ut_store_run(UT_PLAN_FIND_CHECK, &place, NULL, UT_VIEW_USUAL) == 1;
	if (found)
	{
		bool		isnull;
		Oid			function = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));

		counts->checks[judge(DatumGetHeapTupleHeader(OidFunctionCall0(function)))]++;
	}
	ut_store_close();
	ut_store_leave_owner(&owner);
	return found;
}
