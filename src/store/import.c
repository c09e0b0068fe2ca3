/*-------------------------------------------------------------------------
 *
 * import.c
 *	  How are many tokens written at once?
 *
 * One statement for each table, whatever the number.  What is there already is
 * left as it is.  A project or environment that goes meanwhile fails the whole
 * by its foreign key.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "store/store.h"
#include "store/plan.h"
#include "store/row.h"

/* What a token that comes in has in a column; true in *isnull for nothing. */
typedef Datum (*Getter) (const UtIncoming *incoming, bool *isnull);

static Datum
optional_text(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

static Datum
optional_time(TimestampTz time, bool *isnull)
{
	*isnull = time == UT_TIME_UNSET;
	return TimestampTzGetDatum(time);
}

static Datum
get_selector(const UtIncoming *incoming, bool *isnull)
{
	return CStringGetTextDatum(incoming->token.selector);
}

static Datum
get_verifier(const UtIncoming *incoming, bool *isnull)
{
	return ut_row_bytea(incoming->token.verifier, UT_VERIFIER_LEN);
}

static Datum
get_name(const UtIncoming *incoming, bool *isnull)
{
	return CStringGetTextDatum(incoming->token.name);
}

static Datum
get_type(const UtIncoming *incoming, bool *isnull)
{
	return CStringGetTextDatum(ut_token_type_names[incoming->token.type]);
}

static Datum
get_environment(const UtIncoming *incoming, bool *isnull)
{
	return optional_text(incoming->token.environment, isnull);
}

static Datum
get_all_projects(const UtIncoming *incoming, bool *isnull)
{
	return BoolGetDatum(incoming->token.scope.all);
}

static Datum
get_created_at(const UtIncoming *incoming, bool *isnull)
{
	return TimestampTzGetDatum(incoming->token.created_at);
}

static Datum
get_expires_at(const UtIncoming *incoming, bool *isnull)
{
	return optional_time(incoming->token.expires_at, isnull);
}

static Datum
optional_number(int number, bool is_set, bool *isnull)
{
	*isnull = !is_set;
	return Int32GetDatum(number);
}

static Datum
get_rate_limit(const UtIncoming *incoming, bool *isnull)
{
	return optional_number(incoming->token.rate.limit, incoming->token.rate.limit != 0, isnull);
}

static Datum
get_rate_period(const UtIncoming *incoming, bool *isnull)
{
	return optional_number(incoming->token.rate.period, incoming->token.rate.limit != 0, isnull);
}

static Datum
get_rate_burst(const UtIncoming *incoming, bool *isnull)
{
	return optional_number(incoming->token.rate.burst, incoming->token.rate.limit != 0, isnull);
}

static Datum
get_allowed_ips(const UtIncoming *incoming, bool *isnull)
{
	return optional_text(ut_row_format_sources(&incoming->token.sources), isnull);
}

static Datum
get_rotatable(const UtIncoming *incoming, bool *isnull)
{
	return BoolGetDatum(incoming->token.rotatable);
}

static Datum
get_by_verifier(const UtIncoming *incoming, bool *isnull)
{
	return BoolGetDatum(incoming->by_verifier);
}

static Datum
get_seen_at(const UtIncoming *incoming, bool *isnull)
{
	return optional_time(incoming->token.seen_at, isnull);
}

static Datum
get_alias(const UtIncoming *incoming, bool *isnull)
{
	return optional_text(incoming->token.alias, isnull);
}

typedef struct Column
{
	Getter		get;
	Oid			type;
} Column;

/*
 * In the order of the statements: what a new token has, what only one that was
 * used elsewhere has, and what version 1.0 did not know.
 */
static const Column columns[] = {
	{get_selector, TEXTOID},
	{get_verifier, BYTEAOID},
	{get_name, TEXTOID},
	{get_type, TEXTOID},
	{get_environment, TEXTOID},
	{get_all_projects, BOOLOID},
	{get_created_at, TIMESTAMPTZOID},
	{get_expires_at, TIMESTAMPTZOID},
	{get_by_verifier, BOOLOID},
	{get_seen_at, TIMESTAMPTZOID},
	{get_alias, TEXTOID},
	{get_rotatable, BOOLOID},
	{get_rate_limit, INT4OID},
	{get_rate_period, INT4OID},
	{get_rate_burst, INT4OID},
	{get_allowed_ips, TEXTOID},
};

#define ALL_COLUMNS ((int) lengthof(columns))
#define NEW_COLUMNS 8
#define USED_COLUMNS 3
#define SELECTOR_COLUMN 0
#define NAME_COLUMN 2

/* The tokens that may come in (inserted false) or have come in (true). */
static bool
is_chosen(const UtIncoming *incoming, bool inserted)
{
	return incoming->refusal == NULL && (!inserted || incoming->inserted);
}

static Datum
make_column(const UtIncoming *incoming, int count, bool inserted, const Column *column)
{
	Datum	   *values = palloc_extended(Max(count, 1) * sizeof(Datum), MCXT_ALLOC_HUGE);
	bool	   *nulls = palloc0(Max(count, 1) * sizeof(bool));
	int			chosen = 0;

	for (int i = 0; i < count; i++)
	{
		if (!is_chosen(&incoming[i], inserted))
			continue;
		values[chosen] = column->get(&incoming[i], &nulls[chosen]);
		chosen++;
	}
	return ut_row_nullable_array(values, nulls, chosen, column->type);
}

/* Whether one of them has something for the columns that came later. */
static bool
are_whole(const UtIncoming *incoming, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (is_chosen(&incoming[i], false) && ut_row_is_whole(&incoming[i].token))
			return true;
	}
	return false;
}

/* The columns of a statement, and behind them by whom. */
static void
make_columns(const UtIncoming *incoming, int count, const UtActor *actor,
			 bool with_used, bool with_later, Datum *values)
{
	int			filled = 0;

	for (int i = 0; i < ALL_COLUMNS; i++)
	{
		bool		is_later = i >= NEW_COLUMNS + USED_COLUMNS;

		if (i < NEW_COLUMNS || (is_later ? with_later : with_used))
			values[filled++] = make_column(incoming, count, false, &columns[i]);
	}
	values[filled] = CStringGetTextDatum(actor->name);
}

/* The scopes of all, a row for each project; owners[i] is whose it is. */
static int
flatten_scopes(const UtIncoming *incoming, int count, bool inserted,
			   char ***projects, int **owners)
{
	int			total = 0;

	for (int i = 0; i < count; i++)
		total += is_chosen(&incoming[i], inserted) ? incoming[i].token.scope.count : 0;
	*projects = palloc_extended(Max(total, 1) * sizeof(char *), MCXT_ALLOC_HUGE);
	*owners = palloc_extended(Max(total, 1) * sizeof(int), MCXT_ALLOC_HUGE);
	total = 0;
	for (int i = 0; i < count; i++)
	{
		for (int j = 0; is_chosen(&incoming[i], inserted) && j < incoming[i].token.scope.count; j++)
		{
			(*projects)[total] = incoming[i].token.scope.ids[j];
			(*owners)[total++] = i;
		}
	}
	return total;
}

void
ut_store_check_incoming(UtIncoming *incoming, int count)
{
	char	  **environments = palloc_extended(Max(count, 1) * sizeof(char *), MCXT_ALLOC_HUGE);
	char	  **projects;
	int		   *owners;
	int			total = flatten_scopes(incoming, count, false, &projects, &owners);
	Datum		key;
	uint64		unknown;

	for (int i = 0; i < count; i++)
		environments[i] = incoming[i].refusal == NULL ? incoming[i].token.environment : NULL;
	key = ut_row_text_array(environments, count);
	ut_store_open();
	unknown = ut_store_run(UT_PLAN_UNKNOWN_ENVIRONMENTS, &key, NULL, UT_VIEW_USUAL);
	for (uint64 i = 0; i < unknown; i++)
		incoming[ut_row_read_count(SPI_tuptable, i) - 1].refusal = "its environment does not exist here";
	key = ut_row_text_array(projects, total);
	unknown = ut_store_run(UT_PLAN_UNKNOWN_PROJECTS, &key, NULL, UT_VIEW_USUAL);
	for (uint64 i = 0; i < unknown; i++)
		incoming[owners[ut_row_read_count(SPI_tuptable, i) - 1]].refusal = "one of its projects does not exist here";
	ut_store_close();
}

static int
compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

/*
 * Mark those whose selectors came back.  Of two with one selector the first
 * one came in: what was given to it is taken out of the list.
 */
static void
mark_inserted(UtIncoming *incoming, int count, char **selectors, uint64 nselectors)
{
	bool	   *used = palloc0(Max(nselectors, 1) * sizeof(bool));

	qsort(selectors, nselectors, sizeof(char *), compare_texts);
	for (int i = 0; i < count; i++)
	{
		char	  **hit;

		if (incoming[i].refusal != NULL)
			continue;
		hit = bsearch(&incoming[i].token.selector, selectors, nselectors,
					  sizeof(char *), compare_texts);
		if (hit != NULL && !used[hit - selectors])
			incoming[i].inserted = used[hit - selectors] = true;
	}
}

/* What could not come in by its digest is there already, or somebody's trigger swallowed it. */
static void
expect_known(const UtIncoming *incoming, int count)
{
	const uint8 **verifiers = palloc0(Max(count, 1) * sizeof(uint8 *));
	bool	   *found = palloc0(Max(count, 1) * sizeof(bool));
	UtToken    *tokens = palloc_extended(Max(count, 1) * sizeof(UtToken), MCXT_ALLOC_HUGE);

	for (int i = 0; i < count; i++)
	{
		if (is_chosen(&incoming[i], false) && !incoming[i].inserted && incoming[i].by_verifier)
			verifiers[i] = incoming[i].token.verifier;
	}
	ut_store_find_many_by_verifier(verifiers, count, found, tokens);
	for (int i = 0; i < count; i++)
		ut_store_expect(found[i], verifiers[i] != NULL);
}

/* Was a selector that could not come in taken by another secret? */
static void
mark_taken(UtIncoming *incoming, int count)
{
	char	  **selectors = palloc0(Max(count, 1) * sizeof(char *));
	bool	   *found = palloc0(Max(count, 1) * sizeof(bool));
	UtToken    *tokens = palloc_extended(Max(count, 1) * sizeof(UtToken), MCXT_ALLOC_HUGE);

	for (int i = 0; i < count; i++)
	{
		if (is_chosen(&incoming[i], false) && !incoming[i].inserted && !incoming[i].by_verifier)
			selectors[i] = incoming[i].token.selector;
	}
	ut_store_find_many(selectors, count, found, tokens);
	for (int i = 0; i < count; i++)
	{
		if (selectors[i] != NULL)
			ut_store_expect(found[i], true);
		incoming[i].taken = found[i] && memcmp(tokens[i].verifier, incoming[i].token.verifier,
											   UT_VERIFIER_LEN) != 0;
	}
}

static void
insert_tokens(UtIncoming *incoming, int count, const UtActor *actor)
{
	bool		is_whole = are_whole(incoming, count);
	Datum		values[ALL_COLUMNS + 1];
	uint64		inserted;
	char	  **selectors;

	make_columns(incoming, count, actor, true, is_whole, values);
	inserted = ut_store_run(is_whole ? UT_PLAN_IMPORT_WHOLE : UT_PLAN_IMPORT, values, NULL, UT_VIEW_USUAL);
	selectors = palloc_extended(Max(inserted, 1) * sizeof(char *), MCXT_ALLOC_HUGE);

	for (uint64 i = 0; i < inserted; i++)
		selectors[i] = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
	mark_inserted(incoming, count, selectors, inserted);
}

static void
insert_scopes(UtIncoming *incoming, int count)
{
	char	  **projects;
	int		   *owners;
	int			total = flatten_scopes(incoming, count, true, &projects, &owners);
	Datum	   *selectors = palloc_extended(Max(total, 1) * sizeof(Datum), MCXT_ALLOC_HUGE);
	Datum	   *ords = palloc_extended(Max(total, 1) * sizeof(Datum), MCXT_ALLOC_HUGE);
	int			ord = 0;
	Datum		values[3];

	for (int i = 0; i < total; i++)
	{
		ord = i > 0 && owners[i] == owners[i - 1] ? ord + 1 : 1;
		selectors[i] = CStringGetTextDatum(incoming[owners[i]].token.selector);
		ords[i] = Int32GetDatum(ord);
	}
	values[0] = ut_row_array(selectors, total, TEXTOID, false);
	values[1] = ut_row_text_array(projects, total);
	values[2] = ut_row_array(ords, total, INT4OID, false);
	ut_store_expect(ut_store_run(UT_PLAN_IMPORT_PROJECTS, values, NULL, UT_VIEW_USUAL), total);
}

static void
insert_events(UtIncoming *incoming, int count, Jsonb **events, const UtActor *actor)
{
	Datum	   *data = palloc_extended(Max(count, 1) * sizeof(Datum), MCXT_ALLOC_HUGE);
	int			chosen = 0;
	Datum		values[4];

	for (int i = 0; i < count; i++)
	{
		if (is_chosen(&incoming[i], true))
			data[chosen++] = JsonbPGetDatum(events[i]);
	}
	values[0] = make_column(incoming, count, true, &columns[SELECTOR_COLUMN]);
	values[1] = make_column(incoming, count, true, &columns[NAME_COLUMN]);
	values[2] = ut_row_array(data, chosen, JSONBOID, false);
	values[3] = CStringGetTextDatum(actor->name);
	ut_store_expect(ut_store_run(UT_PLAN_IMPORT_EVENTS, values, NULL, UT_VIEW_USUAL), chosen);
}

void
ut_store_import(UtIncoming *incoming, int count, Jsonb **events, const UtActor *actor)
{
	ut_store_open();
	insert_tokens(incoming, count, actor);
	insert_scopes(incoming, count);
	insert_events(incoming, count, events, actor);
	ut_store_close();
	expect_known(incoming, count);
	mark_taken(incoming, count);
}

/*
 * A selector that is taken, once in 2^65 of the same millisecond, fails the
 * whole by its key.
 */
void
ut_store_insert_many(UtIncoming *incoming, int count, Jsonb **events, const UtActor *actor)
{
	bool		is_whole = are_whole(incoming, count);
	Datum		values[ALL_COLUMNS + 1];

	make_columns(incoming, count, actor, false, is_whole, values);
	ut_store_open();
	ut_store_expect(ut_store_run(is_whole ? UT_PLAN_INSERT_MANY_WHOLE : UT_PLAN_INSERT_MANY,
								 values, NULL, UT_VIEW_USUAL), count);
	for (int i = 0; i < count; i++)
		incoming[i].inserted = true;
	insert_scopes(incoming, count);
	insert_events(incoming, count, events, actor);
	ut_store_close();
}
