/*-------------------------------------------------------------------------
 *
 * read.c
 *	  How are tokens read, as they are committed now?
 *
 * One token is read without a statement: nothing is called more often.  Many
 * are found by a plan, which joins what is many.  What a token reaches is read
 * here for all of them.
 *
 * Knows nothing of HTTP and JSON.  Locking: that of latest.h.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "base/scope.h"
#include "store/latest.h"
#include "store/read.h"
#include "store/row.h"
#include "store/store.h"

/* Columns of api_token_project. */
#define SCOPE_PROJECT 2
#define SCOPE_ORD 3

/* A project of a token, with its place. */
typedef struct Place
{
	int			ord;
	char	   *id;
} Place;

static int
compare_places(const void *a, const void *b)
{
	return ((const Place *) a)->ord - ((const Place *) b)->ord;
}

/*
 * Projects that were seen to exist in a look at many tokens, most of which have
 * the same ones: each in the place that its hash gives it, until another comes.
 */
#define SEEN_PROJECTS 256
struct UtScopeReader
{
	text	   *ids[SEEN_PROJECTS];
};

static bool
is_project(UtLatest *latest, Datum id)
{
	ut_latest_seek(latest, UT_TABLE_PROJECT, id);
	return ut_latest_next(latest, UT_TABLE_PROJECT) != NULL;
}

static bool
is_project_again(UtLatest *latest, UtScopeReader *seen, text *id)
{
	size_t		len = VARSIZE_ANY_EXHDR(id);
	text	  **place = &seen->ids[hash_bytes((unsigned char *) VARDATA_ANY(id), len) % SEEN_PROJECTS];

	if (*place != NULL && VARSIZE_ANY_EXHDR(*place) == len &&
		memcmp(VARDATA_ANY(*place), VARDATA_ANY(id), len) == 0)
		return true;
	if (!is_project(latest, PointerGetDatum(id)))
		return false;
	if (*place != NULL)
		pfree(*place);
	*place = MemoryContextAlloc(latest->context, VARSIZE_ANY(id));
	memcpy(*place, id, VARSIZE_ANY(id));
	return true;
}

/*
 * Only projects that exist: a scope never widens, whatever became of the keys.
 * With seen, which may be NULL, those of other tokens are not looked up again.
 */
void
ut_store_read_scope(UtLatest *latest, UtScopeReader *seen, UtToken *token)
{
	UtScope    *scope = &token->scope;
	int			room = 8;
	Place	   *places;
	TupleTableSlot *row;

	if (scope->all)
		return;
	places = palloc(room * sizeof(Place));
	ut_latest_seek(latest, UT_TABLE_SCOPE, CStringGetTextDatum(token->selector));
	while ((row = ut_latest_next(latest, UT_TABLE_SCOPE)) != NULL)
	{
		bool		isnull;
		Datum		project = slot_getattr(row, SCOPE_PROJECT, &isnull);

		if (!(seen == NULL ? is_project(latest, project) :
			  is_project_again(latest, seen, DatumGetTextPP(project))))
			continue;
		if (scope->count == room)
			places = repalloc(places, (room *= 2) * sizeof(Place));
		places[scope->count].ord = DatumGetInt32(slot_getattr(row, SCOPE_ORD, &isnull));
		places[scope->count++].id = TextDatumGetCString(project);
	}
	qsort(places, scope->count, sizeof(Place), compare_places);
	scope->ids = palloc(Max(scope->count, 1) * sizeof(char *));
	for (int i = 0; i < scope->count; i++)
		scope->ids[i] = places[i].id;
	pfree(places);
}

UtScopeReader *
ut_store_begin_scopes(void)
{
	return palloc0(sizeof(UtScopeReader));
}

/*
 * Without a statement, whose plan would decide what is read: at most one row of
 * others tells their token from none.
 */
bool
ut_store_is_within(const char *selector, const UtScope *bounds)
{
	UtLatest	latest;
	TupleTableSlot *row;
	bool		within = false;

	ut_latest_open(&latest, UT_BY_SELECTOR);
	ut_latest_seek(&latest, UT_TABLE_SCOPE, CStringGetTextDatum(selector));
	while ((row = ut_latest_next(&latest, UT_TABLE_SCOPE)) != NULL)
	{
		bool		isnull;

		within = ut_scope_names(bounds, TextDatumGetCString(slot_getattr(row, SCOPE_PROJECT, &isnull)));
		if (!within)
			break;
	}
	ut_latest_close(&latest);
	return within;
}

bool
ut_store_find(const char *selector, UtToken *token)
{
	UtLatest	latest;
	TupleTableSlot *row;
	bool		found;

	ut_latest_open(&latest, UT_BY_SELECTOR);
	ut_latest_seek(&latest, UT_TABLE_TOKEN, CStringGetTextDatum(selector));
	row = ut_latest_next(&latest, UT_TABLE_TOKEN);
	found = row != NULL;
	if (found)
	{
		ut_row_read_token(row, token);
		ut_store_read_scope(&latest, NULL, token);
	}
	ut_latest_close(&latest);
	return found;
}

/* Without its index, tokens that are found by their selectors come up too. */
bool
ut_store_find_by_verifier(const uint8 *verifier, UtToken *token)
{
	UtLatest	latest;
	TupleTableSlot *row;
	bool		found = false;

	ut_latest_open(&latest, UT_BY_VERIFIER);
	ut_latest_seek(&latest, UT_TABLE_TOKEN, ut_row_bytea(verifier, UT_VERIFIER_LEN));
	while (!found && (row = ut_latest_next(&latest, UT_TABLE_TOKEN)) != NULL)
	{
		bool		isnull;

		found = DatumGetBool(slot_getattr(row, UT_COLUMN_BY_VERIFIER, &isnull));
		if (found)
			ut_row_read_token(row, token);
	}
	if (found)
		ut_store_read_scope(&latest, NULL, token);
	ut_latest_close(&latest);
	return found;
}

/* What a statement finds, in the making. */
typedef struct Finding
{
	UtLatest	latest;
	UtScopeReader seen;
	MemoryContext context;		/* of the tokens */
	bool	   *found;			/* many: which are there */
	UtToken    *tokens;
	bool		keep;			/* a list: whether they last */
	UtVisitor	visitor;		/* whom they are shown to */
	void	   *arg;
} Finding;

static void
read_row(TupleTableSlot *row, Finding *finding, UtToken *token)
{
	MemoryContext before = MemoryContextSwitchTo(finding->context);

	ut_row_read_token(row, token);
	ut_store_read_scope(&finding->latest, &finding->seen, token);
	MemoryContextSwitchTo(before);
}

static bool
keep_found(TupleTableSlot *row, void *arg)
{
	Finding    *finding = arg;
	bool		isnull;
	int64		ord = DatumGetInt64(slot_getattr(row, row->tts_tupleDescriptor->natts, &isnull)) - 1;

	finding->found[ord] = true;
	read_row(row, finding, &finding->tokens[ord]);
	return true;
}

/* Keys that are NULL keep their place, so that ord tells which was found. */
static void
find_many(UtPlan plan, Datum keys, bool *found, UtToken *tokens)
{
	Finding		finding = {.context = CurrentMemoryContext,.found = found,.tokens = tokens};

	ut_store_open();
	ut_latest_open(&finding.latest, UT_BY_STATEMENT);
	ut_store_visit_rows(plan, &keys, finding.latest.snapshot, keep_found, &finding);
	ut_latest_close(&finding.latest);
	ut_store_close();
}

void
ut_store_find_many(char **selectors, int count, bool *found, UtToken *tokens)
{
	find_many(UT_PLAN_FIND_MANY, ut_row_text_array(selectors, count), found, tokens);
}

void
ut_store_find_many_by_verifier(const uint8 **verifiers, int count,
							   bool *found, UtToken *tokens)
{
	find_many(UT_PLAN_FIND_MANY_BY_VERIFIER, ut_row_bytea_array(verifiers, count, UT_VERIFIER_LEN),
			  found, tokens);
}

UtToken *
ut_store_read_selected(UtPlan plan, Datum *values, const char *nulls, UtView view, int *count)
{
	MemoryContext context = CurrentMemoryContext;
	int			selected;
	char	  **selectors;
	UtToken    *tokens;
	bool	   *found;

	ut_store_open();
	selected = (int) ut_store_run(plan, values, nulls, view);
	selectors = ut_row_read_selectors(SPI_tuptable, selected, context);
	ut_store_close();
	tokens = palloc_extended(Max(selected, 1) * sizeof(UtToken), MCXT_ALLOC_HUGE);
	found = palloc0(Max(selected, 1) * sizeof(bool));
	ut_store_find_many(selectors, selected, found, tokens);
	*count = 0;
	for (int i = 0; i < selected; i++)
	{
		if (found[i])
			tokens[(*count)++] = tokens[i];
	}
	return tokens;
}

static bool
show_row(TupleTableSlot *row, void *arg)
{
	Finding    *finding = arg;
	MemoryContext before = MemoryContextSwitchTo(finding->context);
	UtToken		token;
	bool		more;

	if (!finding->keep)
		MemoryContextReset(finding->context);
	read_row(row, finding, &token);
	more = finding->visitor(&token, finding->arg);
	MemoryContextSwitchTo(before);
	return more;
}

static void
visit(UtPlan plan, Datum key, bool keep, UtVisitor visitor, void *arg)
{
	Finding		finding = {.context = CurrentMemoryContext,.keep = keep,.visitor = visitor,.arg = arg};

	ut_store_open();
	if (!keep)
		finding.context = AllocSetContextCreate(CurrentMemoryContext, "unleash_tokens list",
												ALLOCSET_DEFAULT_SIZES);
	ut_latest_open(&finding.latest, UT_BY_STATEMENT);
	ut_store_visit_rows(plan, &key, finding.latest.snapshot, show_row, &finding);
	ut_latest_close(&finding.latest);
	ut_store_close();
}

void
ut_store_visit(const char *name, bool keep, UtVisitor visitor, void *arg)
{
	if (name == NULL)
		visit(UT_PLAN_LIST, (Datum) 0, keep, visitor, arg);
	else
		visit(UT_PLAN_LIST_BY_NAME, CStringGetTextDatum(name), keep, visitor, arg);
}

void
ut_store_visit_project(const char *project, bool keep, UtVisitor visitor, void *arg)
{
	visit(UT_PLAN_LIST_BY_PROJECT, CStringGetTextDatum(project), keep, visitor, arg);
}

void
ut_store_visit_within(const UtScope *bounds, bool keep, UtVisitor visitor, void *arg)
{
	visit(UT_PLAN_LIST_WITHIN, ut_row_text_array(bounds->ids, bounds->count), keep, visitor, arg);
}
