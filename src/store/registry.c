/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  How are projects and environments written, and what becomes of the tokens
 *	  when they change?
 *
 * The latter is the work of the triggers.  Foreign keys do the rest.
 *
 * Locking: tokens are locked FOR UPDATE in the order of their selectors before
 * their remaining projects are looked at, so that of two who take the last two
 * projects the second one sees what the first did.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/tuptable.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "store/store.h"
#include "store/plan.h"
#include "store/read.h"
#include "store/row.h"

/* A row that left api_token_project; column numbers are those of the table. */
typedef struct Gone
{
	char	   *selector;
	char	   *project;
	int32		ord;
} Gone;

HeapTuple
ut_store_mark_changed(TriggerData *trigger)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	int			origin = SPI_fnumber(desc, "origin");
	Datum		user = CStringGetTextDatum("user");
	bool		isnull = false;

	return heap_modify_tuple_by_cols(trigger->tg_newtuple, desc, 1, &origin, &user, &isnull);
}

/* By token, then as the token listed them. */
static int
compare_gone(const void *a, const void *b)
{
	const Gone *one = a;
	const Gone *other = b;
	int			order = strcmp(one->selector, other->selector);

	return order != 0 ? order : one->ord - other->ord;
}

/* The rows the statement removed, sorted; NULL and 0 for TRUNCATE. */
static Gone *
read_gone(TriggerData *trigger, int *count)
{
	int			room = 64;
	Gone	   *gone = palloc(room * sizeof(Gone));
	TupleTableSlot *slot;

	*count = 0;
	if (trigger->tg_oldtable == NULL)
		return NULL;
	slot = MakeSingleTupleTableSlot(RelationGetDescr(trigger->tg_relation), &TTSOpsMinimalTuple);
	tuplestore_rescan(trigger->tg_oldtable);
	while (tuplestore_gettupleslot(trigger->tg_oldtable, true, false, slot))
	{
		bool		isnull;

		if (*count == room)
		{
			room *= 2;
			gone = repalloc_huge(gone, room * sizeof(Gone));
		}
		gone[*count].selector = TextDatumGetCString(slot_getattr(slot, 1, &isnull));
		gone[*count].project = TextDatumGetCString(slot_getattr(slot, 2, &isnull));
		gone[*count].ord = DatumGetInt32(slot_getattr(slot, 3, &isnull));
		(*count)++;
	}
	ExecDropSingleTupleTableSlot(slot);
	qsort(gone, *count, sizeof(Gone), compare_gone);
	return gone;
}

static Datum
gone_selectors(const Gone *gone, int count)
{
	char	  **selectors = palloc(Max(count, 1) * sizeof(char *));
	int			distinct = 0;

	for (int i = 0; i < count; i++)
	{
		if (i == 0 || strcmp(gone[i].selector, gone[i - 1].selector) != 0)
			selectors[distinct++] = gone[i].selector;
	}
	return ut_row_text_array(selectors, distinct);
}

/*
 * Give the tokens back the projects they had before the statement, for their
 * events.  Both lists are in the order of the selectors.
 */
static void
restore_scopes(UtToken *tokens, int count, const Gone *gone, int ngone)
{
	int			at = 0;

	for (int i = 0; i < count; i++)
	{
		int			start;

		while (at < ngone && strcmp(gone[at].selector, tokens[i].selector) < 0)
			at++;
		start = at;
		while (at < ngone && strcmp(gone[at].selector, tokens[i].selector) == 0)
			at++;
		tokens[i].scope.count = at - start;
		tokens[i].scope.ids = palloc(Max(at - start, 1) * sizeof(char *));
		for (int j = start; j < at; j++)
			tokens[i].scope.ids[j - start] = gone[j].project;
	}
}

UtToken *
ut_store_delete_scopeless(TriggerData *trigger, int *count)
{
	int			ngone;
	Gone	   *gone = read_gone(trigger, &ngone);
	Datum		selectors = gone_selectors(gone, ngone);
	char		nulls[1] = {gone == NULL ? 'n' : ' '};
	uint64		locked;
	UtToken    *tokens;

	*count = 0;
	if (gone != NULL && ngone == 0)
		return NULL;
	ut_store_open();
	locked = ut_store_run(gone == NULL ? UT_PLAN_LOCK_ALL_SCOPED : UT_PLAN_LOCK_SCOPED,
						  &selectors, NULL, UT_VIEW_USUAL);
	ut_store_close();
	if (locked == 0)
		return NULL;
	tokens = ut_store_read_selected(UT_PLAN_FIND_SCOPELESS, &selectors, nulls, UT_VIEW_LATEST, count);
	for (int i = 0; i < *count; i++)
		ut_store_delete(tokens[i].selector);
	restore_scopes(tokens, *count, gone, ngone);
	return tokens;
}

/* ---- Rows of the registries ---- */

static bool
run_for_name(UtPlan plan, const char *name)
{
	Datum		value = CStringGetTextDatum(name);
	bool		done;

	ut_store_open();
	done = ut_store_run(plan, &value, NULL, UT_VIEW_USUAL) > 0;
	ut_store_close();
	return done;
}

/* What was neither written nor is there was swallowed by somebody's trigger. */
bool
ut_store_add_project(const char *id)
{
	if (run_for_name(UT_PLAN_ADD_PROJECT, id))
		return true;
	ut_store_expect(ut_store_has_project(id), true);
	return false;
}

bool
ut_store_add_environment(const char *name, const char *type, bool enabled)
{
	Datum		values[] = {CStringGetTextDatum(name), CStringGetTextDatum(type), BoolGetDatum(enabled)};
	bool		added;

	ut_store_open();
	added = ut_store_run(UT_PLAN_ADD_ENVIRONMENT, values, NULL, UT_VIEW_USUAL) > 0;
	ut_store_close();
	if (!added)
		ut_store_expect(ut_store_has_environment(name), true);
	return added;
}

bool
ut_store_hold_name(UtRegistry registry, const char *name)
{
	return run_for_name(registry == UT_REGISTRY_PROJECT ? UT_PLAN_HOLD_PROJECT : UT_PLAN_HOLD_ENVIRONMENT, name);
}

void
ut_store_rename(UtRegistry registry, const char *from, const char *to)
{
	Datum		values[] = {CStringGetTextDatum(from), CStringGetTextDatum(to)};

	ut_store_open();
	ut_store_expect(ut_store_run(registry == UT_REGISTRY_PROJECT ? UT_PLAN_RENAME_PROJECT : UT_PLAN_RENAME_ENVIRONMENT,
								 values, NULL, UT_VIEW_USUAL), 1);
	ut_store_close();
}

void
ut_store_remove_name(UtRegistry registry, const char *name)
{
	ut_store_expect(run_for_name(registry == UT_REGISTRY_PROJECT ? UT_PLAN_REMOVE_PROJECT : UT_PLAN_REMOVE_ENVIRONMENT, name), true);
}

char *
ut_store_find_of_environment(const char *name)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		value = CStringGetTextDatum(name);
	char	   *selector = NULL;
	bool		isnull;

	ut_store_open();
	if (ut_store_run(UT_PLAN_FIND_OF_ENVIRONMENT, &value, NULL, UT_VIEW_USUAL) > 0)
	{
		Datum		found = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

		selector = MemoryContextStrdup(context, TextDatumGetCString(found));
	}
	ut_store_close();
	return selector;
}
