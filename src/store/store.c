/*-------------------------------------------------------------------------
 *
 * store.c
 *	  Where are tokens kept?  Tokens, their scopes and events.
 *
 * Knows nothing of HTTP and JSON bodies.  The locking rule is in store.h.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "store/direct.h"
#include "store/store.h"
#include "store/plan.h"
#include "store/read.h"
#include "store/row.h"

/*
 * Sub-object of our extension that stands for the number of tokens.  No DDL
 * and no user's advisory lock ever takes it.
 */
#define LIMIT_LOCK 1

/*
 * A trigger or a rule of somebody else can keep a row from being written without
 * an error.  What was not written must not be answered as if it were.
 */
void
ut_store_expect(uint64 written, uint64 expected)
{
	if (written != expected)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("a row of unleash_tokens was not written"),
				 errhint("A trigger, rule or row security policy stands in the way: see unleash_tokens.doctor().")));
}

/* Is there a row of that key, as of now? */
static bool
has_row(UtPlan plan, const char *key)
{
	Datum		values[] = {CStringGetTextDatum(key)};
	bool		found;

	ut_store_open();
	found = ut_store_run(plan, values, NULL, UT_VIEW_LATEST) > 0;
	ut_store_close();
	return found;
}

bool
ut_store_has_project(const char *id)
{
	return has_row(UT_PLAN_HAS_PROJECT, id);
}

bool
ut_store_has_environment(const char *name)
{
	return has_row(UT_PLAN_HAS_ENVIRONMENT, name);
}

bool
ut_store_lock_environment(const char *name)
{
	UtDirectResult result = ut_direct_lock_environment(name);
	Datum		values[] = {CStringGetTextDatum(name)};
	bool		found;

	if (result != UT_DIRECT_NOT)
		return result == UT_DIRECT_DONE;
	ut_store_open();
	found = ut_store_run(UT_PLAN_LOCK_ENVIRONMENT, values, NULL, UT_VIEW_USUAL) > 0;
	ut_store_close();
	return found;
}

int
ut_store_lock_projects(const UtScope *scope)
{
	Datum		values[] = {ut_row_text_array(scope->ids, scope->count)};
	bool	   *known = palloc0(scope->count * sizeof(bool));
	uint64		found;

	ut_store_open();
	found = ut_store_run(UT_PLAN_LOCK_PROJECTS, values, NULL, UT_VIEW_USUAL);
	for (uint64 i = 0; i < found; i++)
		known[ut_row_read_count(SPI_tuptable, i) - 1] = true;
	ut_store_close();
	for (int i = 0; i < scope->count; i++)
	{
		if (!known[i])
			return i;
	}
	return -1;
}

bool
ut_store_is_below(int limit)
{
	Datum		values[] = {Int64GetDatum(limit)};
	int64		count;

	LockDatabaseObject(ExtensionRelationId, get_extension_oid("unleash_tokens", false),
					   LIMIT_LOCK, ExclusiveLock);
	ut_store_open();
	ut_store_run(UT_PLAN_COUNT, values, NULL, UT_VIEW_LATEST);
	count = ut_row_read_count(SPI_tuptable, 0);
	ut_store_close();
	return count < limit;
}

/* Columns of api_token up to the last one that a new token says. */
#define TOKEN_COLUMNS UT_COLUMN_ALLOWED_IPS

/* Columns of api_token_event; the first two, id and at, have defaults. */
#define EVENT_COLUMNS 9
#define EVENT_DEFAULTS 2

/* A row in the making, its columns in their order. */
typedef struct Row
{
	Datum		values[TOKEN_COLUMNS];
	char		nulls[TOKEN_COLUMNS];
} Row;

/* The four columns of what bounds the use of a token. */
static void
set_limits(const UtToken *token, Datum *values, char *nulls)
{
	char	   *sources = ut_row_format_sources(&token->sources);

	values[0] = Int32GetDatum(token->rate.limit);
	values[1] = Int32GetDatum(token->rate.period);
	values[2] = Int32GetDatum(token->rate.burst);
	memset(nulls, token->rate.limit == 0 ? 'n' : ' ', 3);
	nulls[3] = sources == NULL ? 'n' : ' ';
	if (sources != NULL)
		values[3] = OidInputFunctionCall(F_ARRAY_IN, sources, CIDROID, -1);
}

static void
fill_token(Row *row, const UtToken *token, const UtActor *actor)
{
	memset(row->nulls, ' ', TOKEN_COLUMNS);
	row->values[0] = CStringGetTextDatum(token->selector);
	row->values[1] = ut_row_bytea(token->verifier, UT_VERIFIER_LEN);
	row->values[2] = CStringGetTextDatum(token->name);
	row->values[3] = CStringGetTextDatum(ut_token_type_names[token->type]);
	row->values[4] = ut_row_text(token->environment, &row->nulls[4]);
	row->values[5] = BoolGetDatum(token->scope.all);
	row->values[6] = BoolGetDatum(false);
	row->values[7] = TimestampTzGetDatum(token->created_at);
	row->values[8] = ut_row_time(token->expires_at, &row->nulls[8]);
	row->values[9] = ut_row_time(token->seen_at, &row->nulls[9]);
	row->values[10] = ut_row_text(token->alias, &row->nulls[10]);
	row->values[11] = CStringGetTextDatum(actor->name);
	row->values[12] = BoolGetDatum(token->rotatable);
	/* no rotation yet */
	memset(&row->nulls[13], 'n', 4);
	set_limits(token, &row->values[17], &row->nulls[17]);
}

static void
fill_event(Row *row, const char *type, const UtToken *token, const UtActor *actor,
		   Jsonb *data, Jsonb *pre_data)
{
	memset(row->nulls, ' ', TOKEN_COLUMNS);
	memset(row->nulls, 'd', EVENT_DEFAULTS);
	row->values[2] = CStringGetTextDatum(type);
	row->values[3] = CStringGetTextDatum(token->selector);
	row->values[4] = CStringGetTextDatum(token->name);
	row->values[5] = CStringGetTextDatum(actor->name);
	row->values[6] = ut_row_text(actor->selector, &row->nulls[6]);
	row->values[7] = PointerGetDatum(data);
	row->values[8] = PointerGetDatum(pre_data);
	row->nulls[7] = data == NULL ? 'n' : ' ';
	row->nulls[8] = pre_data == NULL ? 'n' : ' ';
}

static void
run_event(Row *event)
{
	ut_store_expect(ut_store_run(UT_PLAN_INSERT_EVENT, event->values + EVENT_DEFAULTS,
								 event->nulls + EVENT_DEFAULTS, UT_VIEW_USUAL), 1);
}

static UtDirectRow
make_row(UtDirectTable table, int count, const Datum *values, const char *nulls)
{
	UtDirectRow row = {table, count, values, nulls};

	return row;
}

/* The token, its event, its projects: all of them, or none. */
static bool
insert_directly(const UtToken *token, const Row *row, const Row *event)
{
	int			projects = token->scope.all ? 0 : token->scope.count;
	UtDirectRow *rows = palloc((2 + projects) * sizeof(UtDirectRow));
	Datum	   *places = palloc(Max(projects, 1) * 3 * sizeof(Datum));

	rows[0] = make_row(UT_DIRECT_TOKEN, ut_row_is_whole(token) ? TOKEN_COLUMNS : UT_COLUMN_CREATED_BY,
					   row->values, row->nulls);
	rows[1] = make_row(UT_DIRECT_EVENT, EVENT_COLUMNS, event->values, event->nulls);
	for (int i = 0; i < projects; i++)
	{
		Datum	   *place = &places[3 * i];

		place[0] = row->values[0];
		place[1] = CStringGetTextDatum(token->scope.ids[i]);
		place[2] = Int32GetDatum(i + 1);
		rows[2 + i] = make_row(UT_DIRECT_PROJECT, 3, place, "   ");
	}
	return ut_direct_insert(rows, 2 + projects) == UT_DIRECT_DONE;
}

bool
ut_store_insert(const UtToken *token, const UtActor *actor, Jsonb *data)
{
	Row			row;
	Row			event;
	bool		inserted;

	fill_token(&row, token, actor);
	fill_event(&event, "api-token-created", token, actor, data, NULL);
	if (insert_directly(token, &row, &event))
		return true;
	ut_store_open();
	inserted = ut_store_run(ut_row_is_whole(token) ? UT_PLAN_INSERT_WHOLE : UT_PLAN_INSERT,
							row.values, row.nulls, UT_VIEW_USUAL) > 0;
	if (inserted && !token->scope.all)
	{
		Datum		scope[] = {row.values[0], ut_row_text_array(token->scope.ids, token->scope.count)};

		ut_store_expect(ut_store_run(UT_PLAN_INSERT_PROJECTS, scope, NULL, UT_VIEW_USUAL),
						token->scope.count);
	}
	if (inserted)
		run_event(&event);
	ut_store_close();
	return inserted;
}

void
ut_store_add_event(const char *type, const UtToken *token, const UtActor *actor,
				   Jsonb *data, Jsonb *pre_data)
{
	Row			event;
	UtDirectRow row = {UT_DIRECT_EVENT, EVENT_COLUMNS, event.values, event.nulls};

	fill_event(&event, type, token, actor, data, pre_data);
	if (ut_direct_insert(&row, 1) == UT_DIRECT_DONE)
		return;
	ut_store_open();
	run_event(&event);
	ut_store_close();
}

/* Foreign keys keep a project from going while a token it belongs to is locked. */
bool
ut_store_lock(const char *selector, UtToken *token)
{
	Datum		key = CStringGetTextDatum(selector);
	bool		found;

	ut_store_open();
	found = ut_store_run(UT_PLAN_LOCK, &key, NULL, UT_VIEW_USUAL) > 0;
	ut_store_close();
	if (found)
		ut_store_expect(ut_store_find(selector, token), true);
	return found;
}

void
ut_store_update(const UtToken *before, const UtToken *token)
{
	Datum		values[6] = {CStringGetTextDatum(token->selector)};
	char		nulls[] = "      ";

	values[1] = ut_row_time(token->expires_at, &nulls[1]);
	set_limits(token, &values[2], &nulls[2]);
	ut_store_open();
	ut_store_expect(ut_store_run(ut_row_is_whole(before) || ut_row_is_whole(token) ? UT_PLAN_UPDATE : UT_PLAN_UPDATE_EXPIRY,
								 values, nulls, UT_VIEW_USUAL), 1);
	ut_store_close();
}

void
ut_store_set_rotation(const UtToken *token, const Interval *grace)
{
	Datum		values[] = {CStringGetTextDatum(token->selector),
		ut_row_bytea(token->next_verifier, UT_VERIFIER_LEN),
	TimestampTzGetDatum(token->activate_by), IntervalPGetDatum(grace)};

	ut_store_open();
	ut_store_expect(ut_store_run(UT_PLAN_UPDATE_ROTATION, values, NULL, UT_VIEW_USUAL), 1);
	ut_store_close();
}

void
ut_store_end_rotation(const char *selector, bool cancel)
{
	Datum		values[] = {CStringGetTextDatum(selector)};

	ut_store_open();
	ut_store_expect(ut_store_run(cancel ? UT_PLAN_CANCEL_ROTATION : UT_PLAN_FINISH_ROTATION,
								 values, NULL, UT_VIEW_USUAL), 1);
	ut_store_close();
}

void
ut_store_delete(const char *selector)
{
	Datum		values[] = {CStringGetTextDatum(selector)};

	ut_store_open();
	ut_store_expect(ut_store_run(UT_PLAN_DELETE, values, NULL, UT_VIEW_USUAL), 1);
	ut_store_close();
}

UtToken *
ut_store_find_longer(int seconds, const char *after, bool lock, int *count)
{
	Datum		values[] = {Float8GetDatum(seconds), CStringGetTextDatum(after)};

	return ut_store_read_selected(lock ? UT_PLAN_LOCK_LONGER : UT_PLAN_FIND_LONGER,
								  values, NULL, UT_VIEW_USUAL, count);
}

UtToken *
ut_store_lock_expired(TimestampTz by, int *count)
{
	Datum		time = TimestampTzGetDatum(by);

	return ut_store_read_selected(UT_PLAN_LOCK_EXPIRED, &time, NULL, UT_VIEW_USUAL, count);
}

int64
ut_store_delete_events(TimestampTz by)
{
	Datum		time = TimestampTzGetDatum(by);
	int64		deleted;
	bool		isnull;

	ut_store_open();
	ut_store_expect(ut_store_run(UT_PLAN_DELETE_EVENTS, &time, NULL, UT_VIEW_USUAL), 1);
	deleted = ut_row_read_count(SPI_tuptable, 0);
	ut_store_expect(DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)), deleted);
	ut_store_close();
	return deleted;
}
