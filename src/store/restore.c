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

#include "utils/builtins.h"
#include "utils/rel.h"

#include "store/store.h"
#include "store/plan.h"

/* What is done with a row of that name; UT_PLANS: nothing. */
typedef struct Restorer
{
	const char *relation;
	UtPlan		lock;			/* the row of the install, if there is one */
	UtPlan		remove;			/* it, unless a token uses it */
	UtPlan		insert;
} Restorer;

static const Restorer restorers[] = {
	{"no project", UT_PLAN_LOCK_INSTALL_PROJECT, UT_PLAN_DELETE_INSTALL_PROJECT, UT_PLANS},
	{"no environment", UT_PLAN_LOCK_INSTALL_ENVIRONMENT, UT_PLAN_DELETE_INSTALL_ENVIRONMENT, UT_PLANS},
	{"project", UT_PLAN_LOCK_INSTALL_PROJECT, UT_PLAN_DELETE_INSTALL_PROJECT, UT_PLAN_RESTORE_PROJECT},
	{"environment", UT_PLAN_LOCK_INSTALL_ENVIRONMENT, UT_PLAN_DELETE_INSTALL_ENVIRONMENT, UT_PLAN_RESTORE_ENVIRONMENT},
	{"api_token", UT_PLANS, UT_PLANS, UT_PLAN_RESTORE_TOKEN},
	{"api_token_project", UT_PLANS, UT_PLANS, UT_PLAN_RESTORE_TOKEN_PROJECT},
	{"api_token_event", UT_PLANS, UT_PLANS, UT_PLAN_RESTORE_EVENT},
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

void
ut_store_restore(TriggerData *trigger)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	const Restorer *restorer = find_restorer(SPI_getvalue(trigger->tg_trigtuple, desc,
														  SPI_fnumber(desc, "relation")));
	bool		isnull;
	Datum		row = SPI_getbinval(trigger->tg_trigtuple, desc, SPI_fnumber(desc, "data"), &isnull);

	if (isnull)
		return;
	ut_store_open();

	/*
	 * a statement of its own, so that the second one sees who used it
	 * meanwhile
	 */
	if (restorer->lock != UT_PLANS &&
		ut_store_run(restorer->lock, &row, NULL, UT_VIEW_USUAL) > 0)
		ut_store_run(restorer->remove, &row, NULL, UT_VIEW_USUAL);
	if (restorer->insert != UT_PLANS)
		ut_store_run(restorer->insert, &row, NULL, UT_VIEW_USUAL);
	ut_store_close();
}
