/*-------------------------------------------------------------------------
 *
 * page.c
 *	  How is a page of tokens read, along an index, and one of events?
 *
 * Knows nothing of HTTP and JSON, nor what is looked for.  Locking: that of
 * latest.h.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "store/latest.h"
#include "store/page.h"
#include "store/plan.h"
#include "store/read.h"
#include "store/row.h"

/* A page in the reading. */
typedef struct Reading
{
	UtLatest	latest;
	UtScopeReader *scopes;
	MemoryContext context;		/* of one token */
	const UtPage *page;
	UtWanted	wanted;
	UtVisitor	show;
	void	   *arg;
	int			rows;			/* looked at */
	bool		passed;			/* the far end of the page */
	bool		ended;			/* by whom they are shown to */
} Reading;

static char *
read_creator(TupleTableSlot *row)
{
	bool		isnull;
	Datum		creator = slot_getattr(row, UT_COLUMN_CREATED_BY, &isnull);

	return isnull ? NULL : TextDatumGetCString(creator);
}

static bool
is_by_selector(const UtPage *page)
{
	return page->walk == UT_WALK_ALL || page->walk == UT_WALK_PROJECT;
}

/* Is it behind the end that the statement does not know? */
static bool
is_beyond(const UtPage *page, const UtToken *token)
{
	if (!is_by_selector(page))
		return false;
	return page->descending ? strcmp(token->selector, page->low) < 0 : strcmp(token->selector, page->high) >= 0;
}

/* What a token reaches takes several look-ups: only of those that are wanted. */
static bool
read_row(TupleTableSlot *row, void *arg)
{
	Reading    *reading = arg;
	MemoryContext before = MemoryContextSwitchTo(reading->context);
	UtToken		token;

	MemoryContextReset(reading->context);
	reading->rows++;
	ut_row_read_token(row, &token);
	reading->passed = is_beyond(reading->page, &token);
	if (!reading->passed && reading->wanted(&token, reading->arg))
	{
		ut_store_read_scope(&reading->latest, reading->scopes, &token);
		token.created_by = read_creator(row);
		reading->ended = !reading->show(&token, reading->arg);
	}
	MemoryContextSwitchTo(before);
	return !reading->passed && !reading->ended;
}

/* The plan that goes upwards; the other one stands behind it. */
static UtPlan
choose_plan(const UtPage *page)
{
	static const UtPlan plans[] = {
		UT_PLAN_PAGE, UT_PLAN_PAGE_OF_PROJECT, UT_PLAN_PAGE_OF_TYPE,
		UT_PLAN_PAGE_BY_NAME, UT_PLAN_PAGE_BY_EXPIRY, UT_PLAN_PAGE_BY_ROTATION
	};
	static const UtPlan within[] = {
		UT_PLAN_PAGE_WITHIN, UT_PLAN_PAGE_WITHIN, UT_PLAN_PAGE_WITHIN_BY_NAME,
		UT_PLAN_PAGE_WITHIN_BY_NAME, UT_PLAN_PAGE_WITHIN_BY_EXPIRY, UT_PLAN_PAGE_WITHIN_BY_ROTATION
	};

	return (page->bounds == NULL ? plans : within)[page->walk] + (page->descending ? 1 : 0);
}

static Datum
compose_projects(const UtPage *page)
{
	char	   *only = unconstify(char *, page->value);

	if (page->walk == UT_WALK_PROJECT)
		return ut_row_text_array(&only, 1);
	return ut_row_text_array(page->bounds->ids, page->bounds->count);
}

static void
compose_values(const UtPage *page, Datum *values)
{
	bool		by_time = page->walk == UT_WALK_EXPIRY || page->walk == UT_WALK_ROTATION;

	values[0] = by_time ? TimestampTzGetDatum(page->from) : CStringGetTextDatum(page->low);
	values[1] = by_time ? TimestampTzGetDatum(page->to) : CStringGetTextDatum(page->high);
	if (!is_by_selector(page))
		values[2] = CStringGetTextDatum(page->after);
	else if (page->bounds != NULL)
		values[2] = compose_projects(page);
	else if (page->value != NULL)
		values[2] = CStringGetTextDatum(page->value);
	if (page->bounds != NULL)
		values[3] = ut_row_text_array(page->bounds->ids, page->bounds->count);
	else if (page->walk == UT_WALK_TYPE)
		values[3] = CStringGetTextDatum(page->value);
}

bool
ut_store_visit_page(const UtPage *page, UtWanted wanted, UtVisitor show, void *arg)
{
	Reading		reading = {.page = page,.wanted = wanted,.show = show,.arg = arg};
	int			window = page->bounds != NULL && is_by_selector(page) ? UT_PAGE_WINDOW_WITHIN : UT_PAGE_WINDOW;
	Datum		values[4] = {0};

	compose_values(page, values);
	ut_store_open();
	reading.context = AllocSetContextCreate(CurrentMemoryContext, "unleash_tokens page",
											ALLOCSET_DEFAULT_SIZES);
	reading.scopes = ut_store_begin_scopes();
	ut_latest_open(&reading.latest, UT_BY_STATEMENT);
	ut_store_visit_rows(choose_plan(page), values, reading.latest.snapshot, read_row, &reading);
	ut_latest_close(&reading.latest);
	ut_store_close();
	return reading.passed || (!reading.ended && reading.rows < window);
}

/* lower() of the collation "C", which the column has, knows ASCII only. */
char *
ut_store_name_key(const char *name)
{
	size_t		len = pg_mbcharcliplen(name, strlen(name), UT_NAME_KEY_LEN);
	char	   *key = pnstrdup(name, len);

	for (char *c = key; *c != '\0'; c++)
		*c = pg_ascii_tolower((unsigned char) *c);
	return key;
}

/* ---- Events, and what else is shown ---- */

typedef struct Listening
{
	UtEventVisitor visitor;
	void	   *arg;
	int			rows;
	bool		ended;
} Listening;

static bool
read_event(TupleTableSlot *row, void *arg)
{
	Listening  *listening = arg;
	bool		isnull;
	int64		id = DatumGetInt64(slot_getattr(row, 1, &isnull));
	Datum		json = slot_getattr(row, 2, &isnull);

	CHECK_FOR_INTERRUPTS();
	listening->rows++;
	listening->ended = !listening->visitor(id, isnull ? NULL : TextDatumGetCString(json), listening->arg);
	return !listening->ended;
}

bool
ut_store_visit_events(int64 before, const char *selector, const char *type,
					  UtEventVisitor visitor, void *arg)
{
	Listening	listening = {.visitor = visitor,.arg = arg};
	Datum		values[3] = {Int64GetDatum(before), CStringGetTextDatum(selector), CStringGetTextDatum(type)};
	UtLatest	latest;

	ut_store_open();
	ut_latest_open(&latest, UT_BY_STATEMENT);
	ut_store_visit_rows(UT_PLAN_PAGE_OF_EVENTS, values, latest.snapshot, read_event, &listening);
	ut_latest_close(&latest);
	ut_store_close();
	return !listening.ended && listening.rows < UT_PAGE_WINDOW;
}

/* The texts that a statement finds. */
static char **
list_texts(UtPlan plan, Datum *values, int *count)
{
	MemoryContext context = CurrentMemoryContext;
	char	  **texts;

	ut_store_open();
	*count = (int) ut_store_run(plan, values, NULL, UT_VIEW_USUAL);
	texts = ut_row_read_selectors(SPI_tuptable, *count, context);
	ut_store_close();
	return texts;
}

char *
ut_store_list_choices(int64 projects)
{
	Datum		value = Int64GetDatum(projects);
	int			count;

	return list_texts(UT_PLAN_LIST_CHOICES, &value, &count)[0];
}

char	  **
ut_store_list_findings(int *count)
{
	return list_texts(UT_PLAN_LIST_FINDINGS, NULL, count);
}
