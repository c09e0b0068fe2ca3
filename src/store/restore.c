/*-------------------------------------------------------------------------
 *
 * restore.c
 *	  How do the rows of a dump come back?
 *
 * They arrive in an order in which foreign keys hold, see the install script.
 *
 * Locking: a row of the install is locked FOR UPDATE before it is looked at
 * whether a token uses it.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "store/store.h"
#include "store/plan.h"
#include "store/trust.h"

/* What is done with a row of that name. */
typedef struct Restorer
{
	const char *relation;
	const char *table;			/* where the row goes; NULL: nowhere */
	UtPlan		lock;			/* the row of the install, or of a worker that
								 * came before; UT_PLANS: there never is */
	UtPlan		remove;			/* it, unless a token uses it */
	UtPlan		find;			/* it, unless a token uses it */
} Restorer;

#define PROJECT_PLANS \
	UT_PLAN_LOCK_INSTALL_PROJECT, UT_PLAN_DELETE_INSTALL_PROJECT, UT_PLAN_FIND_INSTALL_PROJECT
#define ENVIRONMENT_PLANS \
	UT_PLAN_LOCK_INSTALL_ENVIRONMENT, UT_PLAN_DELETE_INSTALL_ENVIRONMENT, UT_PLAN_FIND_INSTALL_ENVIRONMENT
#define NOTICE_PLANS \
	UT_PLAN_LOCK_NOTICE_ROW, UT_PLAN_DELETE_NOTICE_ROW, UT_PLAN_FIND_NOTICE_ROW
#define NO_PLANS UT_PLANS, UT_PLANS, UT_PLANS

static const Restorer restorers[] = {
	{"no project", NULL, PROJECT_PLANS},
	{"no environment", NULL, ENVIRONMENT_PLANS},
	{"project", "project", PROJECT_PLANS},
	{"environment", "environment", ENVIRONMENT_PLANS},
	{"api_token", "api_token", NO_PLANS},
	{"api_token_project", "api_token_project", NO_PLANS},
	{"api_token_event", "api_token_event", NO_PLANS},
	{"guard_role", "guard_role", NO_PLANS},
	{"expiry_notice", "expiry_notice", NOTICE_PLANS},
};

static const Restorer *
find_restorer(const char *relation)
{
	for (int i = 0; relation != NULL && i < (int) lengthof(restorers); i++)
	{
		if (strcmp(restorers[i].relation, relation) == 0)
			return &restorers[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a restored row belongs to a table that unleash_tokens does not know"),
			 errhint("Restore with the version of unleash_tokens that the dump was made with, or a later one.")));
}

/*
 * The columns that the row has, as a list.  One that the table has not is an
 * error, since it may be what holds the token back; one that the row has not
 * gets its default.
 */
static char *
list_columns(const char *table, Jsonb *row)
{
	StringInfoData columns;
	JsonbIterator *iterator = JsonbIteratorInit(&row->root);
	JsonbValue	key;
	JsonbIteratorToken place;
	Oid			relation = get_relname_relid(table, get_namespace_oid("unleash_tokens", false));

	initStringInfo(&columns);
	while ((place = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		char	   *name;

		if (place != WJB_KEY)
			continue;
		name = pnstrdup(key.val.string.val, key.val.string.len);
		if (get_attnum(relation, name) <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a restored row has a column that unleash_tokens.%s has not", table),
					 errhint("Restore with the version of unleash_tokens that the dump was made with, or a later one.")));
		appendStringInfo(&columns, "%s%s", columns.len > 0 ? ", " : "", quote_identifier(name));
	}
	if (columns.len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a restored row of unleash_tokens.%s has no columns", table)));
	return columns.data;
}

/* Rows of a table come one after the other, all with the same columns. */
static void
insert_row(const char *table, Datum row)
{
	static char *kept_text = NULL;
	static SPIPlanPtr kept = NULL;
	Oid			type = JSONBOID;
	char	   *columns = list_columns(table, DatumGetJsonbP(row));
	char	   *text = psprintf("INSERT INTO unleash_tokens.%s (%s) OVERRIDING SYSTEM VALUE "
								"SELECT %s FROM jsonb_populate_record(NULL::unleash_tokens.%s, $1)",
								table, columns, columns, table);

	if (kept == NULL || strcmp(text, kept_text) != 0)
	{
		SPIPlanPtr	plan = SPI_prepare(text, 1, &type);

		if (plan == NULL)
			elog(ERROR, "could not prepare: %s", SPI_result_code_string(SPI_result));
		if (kept != NULL)
		{
			SPI_freeplan(kept);
			kept = NULL;
			pfree(kept_text);
		}
		kept_text = MemoryContextStrdup(TopMemoryContext, text);
		SPI_keepplan(plan);
		kept = plan;
	}
	ut_store_check_statement(kept);
	SPI_execute_plan(kept, &row, NULL, false, 0);
	ut_store_expect(SPI_processed, 1);
}

void
ut_store_restore(TriggerData *trigger)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	const Restorer *restorer = find_restorer(SPI_getvalue(trigger->tg_trigtuple, desc,
														  SPI_fnumber(desc, "relation")));
	bool		isnull;
	Datum		row = SPI_getbinval(trigger->tg_trigtuple, desc, SPI_fnumber(desc, "data"), &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a restored row has no data")));
	ut_store_open();

	/*
	 * statements of their own, so that each one sees who used the row
	 * meanwhile; what is still there in the end was kept by somebody's
	 * trigger
	 */
	if (restorer->lock != UT_PLANS &&
		ut_store_run(restorer->lock, &row, NULL, UT_VIEW_USUAL) > 0 &&
		ut_store_run(restorer->remove, &row, NULL, UT_VIEW_USUAL) == 0)
		ut_store_expect(ut_store_run(restorer->find, &row, NULL, UT_VIEW_USUAL), 0);
	if (restorer->table != NULL)
		insert_row(restorer->table, row);
	ut_store_close();
}
