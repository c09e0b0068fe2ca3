/*-------------------------------------------------------------------------
 *
 * unleash_tokens.c
 *	  What can SQL call?  The front door: module magic, settings and
 *	  SQL-callable functions.
 *
 * Each function unpacks its arguments, calls a room in src/ and packs the
 * result.  doc/architecture.md tells which room answers which question.
 *
 * Knows no SQL text and no details of JSON.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "rules/answer.h"
#include "rules/batch.h"
#include "rules/caller.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/contact.h"
#include "text/datetime.h"
#include "rules/import.h"
#include "http/origin.h"
#include "http/postgrest.h"
#include "http/promise.h"
#include "rules/lifetime.h"
#include "rules/limit.h"
#include "http/prerequest.h"
#include "rules/guard.h"
#include "base/problem.h"
#include "base/quiet.h"
#include "rules/purge.h"
#include "rules/request.h"
#include "http/rest.h"
#include "text/secret.h"
#include "rules/service.h"
#include "store/store.h"
#include "store/row.h"
#include "usage/forward.h"
#include "usage/launcher.h"
#include "usage/notice.h"
#include "usage/persist.h"
#include "usage/stat.h"
#include "usage/usage.h"

UT_MODULE_MAGIC;

void		_PG_init(void);

PG_FUNCTION_INFO_V1(unleash_tokens_create_api_token);
PG_FUNCTION_INFO_V1(unleash_tokens_create_api_tokens);
PG_FUNCTION_INFO_V1(unleash_tokens_validate_api_token);
PG_FUNCTION_INFO_V1(unleash_tokens_get_all_api_tokens);
PG_FUNCTION_INFO_V1(unleash_tokens_get_api_tokens_by_name);
PG_FUNCTION_INFO_V1(unleash_tokens_update_api_token);
PG_FUNCTION_INFO_V1(unleash_tokens_delete_api_token);
PG_FUNCTION_INFO_V1(unleash_tokens_validate_api_tokens);
PG_FUNCTION_INFO_V1(unleash_tokens_import_api_tokens);
PG_FUNCTION_INFO_V1(unleash_tokens_purge_expired);
PG_FUNCTION_INFO_V1(unleash_tokens_purge_events);
PG_FUNCTION_INFO_V1(unleash_tokens_get_seen_at);
PG_FUNCTION_INFO_V1(unleash_tokens_note_usage);
PG_FUNCTION_INFO_V1(unleash_tokens_get_stat);
PG_FUNCTION_INFO_V1(unleash_tokens_stat_reset);
PG_FUNCTION_INFO_V1(unleash_tokens_rest_api);
PG_FUNCTION_INFO_V1(unleash_tokens_rest_api_get);
PG_FUNCTION_INFO_V1(unleash_tokens_rest_read);
PG_FUNCTION_INFO_V1(unleash_tokens_mark_changed);
PG_FUNCTION_INFO_V1(unleash_tokens_restore_row);
PG_FUNCTION_INFO_V1(unleash_tokens_delete_scopeless_tokens);

void
_PG_init(void)
{
	DefineCustomIntVariable("unleash_tokens.max_tokens",
							"Sets the most tokens that may exist in a database.",
							"Expired tokens count too. 0 means no limit.",
							&ut_max_tokens,
							0, 0, INT_MAX,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("unleash_tokens.max_lifetime",
							"Sets how long a token may live from its creation.",
							"Concerns tokens made or changed from now on. 0 means no bound.",
							&ut_max_lifetime,
							0, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("unleash_tokens.flush_interval",
							"Sets the time between writes of when tokens were used.",
							NULL,
							&ut_flush_interval,
							60, 1, 3600,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomStringVariable("unleash_tokens.primary_conninfo",
							   "Sets where a standby sends when tokens were used.",
							   "A connection string without dbname; empty: nowhere.",
							   &ut_primary_conninfo,
							   "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("unleash_tokens.usage_slots",
								"Sets how many notes of use shared memory holds.",
								"Rounded up to a power of two times 64.",
								&ut_usage_slots,
								262144, 64, 64 * 1024 * 1024,
								PGC_POSTMASTER, 0, NULL, NULL, NULL);
	ut_notice_init();
	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("unleash_tokens.rate_slots",
								"Sets how many tokens with a limit can be counted at the same time.",
								"Rounded up to a power of two times 63.",
								&ut_rate_slots,
								65536, 63, 64 * 1024 * 1024,
								PGC_POSTMASTER, 0, NULL, NULL, NULL);
	ut_limit_init();
	ut_prerequest_init();
	ut_origin_init();
	ut_contact_init();
	MarkGUCPrefixReserved("unleash_tokens");
	ut_quiet_init();
	ut_guard_init();
	ut_promise_init();

	/* pg_upgrade must find neither memory nor processes of ours */
	if (process_shared_preload_libraries_in_progress && !IsBinaryUpgrade)
	{
		ut_persist_init();
		ut_launcher_register();
	}
}

/* ---- SQL door ---- */

Datum
unleash_tokens_create_api_token(PG_FUNCTION_ARGS)
{
	UtActor		actor = ut_caller_sql_actor();
	UtCreate	create;
	UtToken		token;
	char	   *secret;
	UtProblem	problem;

	if (!ut_request_create(PG_ARGISNULL(0) ? NULL : PG_GETARG_JSONB_P(0), &create, &problem) ||
		!ut_service_create(&create, &actor, &token, &secret, &problem))
		ut_problem_raise(&problem);

	ut_promise_make();
	ut_postgrest_answer_secret("create_api_token", 201, token.selector);
	PG_RETURN_JSONB_P(ut_answer_shown(&token, secret));
}

Datum
unleash_tokens_create_api_tokens(PG_FUNCTION_ARGS)
{
	UtActor		actor = ut_caller_sql_actor();
	Jsonb	   *answer;
	UtProblem	problem;

	if (!ut_batch_create(PG_ARGISNULL(0) ? NULL : PG_GETARG_JSONB_P(0), &actor, &answer, &problem))
		ut_problem_raise(&problem);
	ut_promise_make();
	ut_postgrest_answer_secret("create_api_tokens", 201, NULL);
	PG_RETURN_JSONB_P(answer);
}

Datum
unleash_tokens_validate_api_token(PG_FUNCTION_ARGS)
{
	text	   *secret = PG_GETARG_TEXT_PP(0);
	UtToken		token;

	if (!ut_service_validate(VARDATA_ANY(secret), VARSIZE_ANY_EXHDR(secret), &token))
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(ut_answer_validation(&token));
}

/* All tokens, or those of a name, as jsonb. */
static Datum
list_as_jsonb(const char *name)
{
	Jsonb	   *list;
	UtProblem	problem;
	UtActor		actor = ut_caller_sql_actor();
	UtSelection wanted = {.actor = &actor,.name = name};

	if (!ut_service_list_jsonb(&wanted, &list, &problem))
		ut_problem_raise(&problem);
	return JsonbPGetDatum(list);
}

Datum
unleash_tokens_get_all_api_tokens(PG_FUNCTION_ARGS)
{
	return list_as_jsonb(NULL);
}

Datum
unleash_tokens_get_api_tokens_by_name(PG_FUNCTION_ARGS)
{
	return list_as_jsonb(text_to_cstring(PG_GETARG_TEXT_PP(0)));
}

Datum
unleash_tokens_update_api_token(PG_FUNCTION_ARGS)
{
	UtActor		actor = ut_caller_sql_actor();
	UtUpdate	update;
	UtProblem	problem;
	UtToken		token;
	bool		found;

	if (!ut_request_update(PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1), &update, &problem))
		ut_problem_raise(&problem);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (!ut_service_update(text_to_cstring(PG_GETARG_TEXT_PP(0)), &update, &actor, &token,
						   &found, &problem))
		ut_problem_raise(&problem);
	if (!found)
		PG_RETURN_NULL();
	ut_promise_make();
	PG_RETURN_JSONB_P(ut_answer_shown(&token, NULL));
}

Datum
unleash_tokens_delete_api_token(PG_FUNCTION_ARGS)
{
	UtActor		actor = ut_caller_sql_actor();
	bool		deleted = !PG_ARGISNULL(0) &&
		ut_service_delete(text_to_cstring(PG_GETARG_TEXT_PP(0)), &actor);

	ut_promise_make();
	PG_RETURN_BOOL(deleted);
}

/* One row for each valid secret, with its place in the array. */
Datum
unleash_tokens_validate_api_tokens(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int			count;
	char	  **secrets = ut_row_read_texts(PG_GETARG_ARRAYTYPE_P(0), &count);
	bool	   *valid = palloc(Max(count, 1) * sizeof(bool));
	UtToken    *tokens = palloc_extended(Max(count, 1) * sizeof(UtToken), MCXT_ALLOC_HUGE);

	InitMaterializedSRF(fcinfo, 0);
	ut_service_validate_all(secrets, count, valid, tokens);
	for (int i = 0; i < count; i++)
	{
		Datum		values[7];
		bool		nulls[7] = {false};

		if (!valid[i])
			continue;
		values[0] = Int64GetDatum(i + 1);
		ut_row_write_validation(&tokens[i], values + 1, nulls + 1);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

Datum
unleash_tokens_import_api_tokens(PG_FUNCTION_ARGS)
{
	UtActor		actor = ut_caller_sql_actor();
	Jsonb	   *report;
	UtProblem	problem;

	if (!ut_import_tokens(PG_ARGISNULL(0) ? NULL : PG_GETARG_JSONB_P(0), &actor, &report, &problem))
		ut_problem_raise(&problem);
	ut_promise_make();
	PG_RETURN_JSONB_P(report);
}

Datum
unleash_tokens_purge_expired(PG_FUNCTION_ARGS)
{
	UtActor		actor = ut_caller_sql_actor();
	int64		deleted = ut_purge_expired(PG_GETARG_INTERVAL_P(0), &actor);

	ut_promise_make();
	PG_RETURN_INT64(deleted);
}

Datum
unleash_tokens_purge_events(PG_FUNCTION_ARGS)
{
	int64		deleted = ut_purge_events(PG_GETARG_INTERVAL_P(0));

	ut_promise_make();
	PG_RETURN_INT64(deleted);
}

/* ---- Usage ---- */

Datum
unleash_tokens_get_seen_at(PG_FUNCTION_ARGS)
{
	UtToken		token = {0};

	token.seen_at = PG_ARGISNULL(1) ? UT_TIME_UNSET : PG_GETARG_TIMESTAMPTZ(1);
	if (!PG_ARGISNULL(0) && VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(0)) == UT_SELECTOR_LEN)
	{
		token.selector = text_to_cstring(PG_GETARG_TEXT_PP(0));
		ut_usage_overlay(&token);
	}
	if (token.seen_at == UT_TIME_UNSET)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(token.seen_at);
}

/*
 * What a standby says is taken for a note of our own, never from the future.  A
 * time that the table would refuse is left out: it would keep the worker from
 * writing all others.
 */
Datum
unleash_tokens_note_usage(PG_FUNCTION_ARGS)
{
	static const UtMark unmarked = {false};
	TimestampTz now = GetCurrentTimestamp();
	int			count;
	int			ntimes;
	int			nmarks;
	char	  **selectors = ut_row_read_texts(PG_GETARG_ARRAYTYPE_P(0), &count);
	TimestampTz *times = ut_row_read_times(PG_GETARG_ARRAYTYPE_P(1), &ntimes);
	UtMark	   *marks = ut_row_read_marks(PG_GETARG_ARRAYTYPE_P(2), &nmarks);
	int64		noted = 0;

	if (count != ntimes || (nmarks > 0 && nmarks != count))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("selectors, times and marks must be of the same length")));
	for (int i = 0; i < count; i++)
	{
		if (selectors[i] == NULL || times[i] < ut_clock_from_ms(UT_DATETIME_MIN) ||
			!ut_secret_is_selector(selectors[i], strlen(selectors[i])))
			continue;
		ut_usage_note(selectors[i], Min(times[i], now), nmarks > 0 ? &marks[i] : &unmarked);
		noted++;
	}
	PG_RETURN_INT64(noted);
}

Datum
unleash_tokens_get_stat(PG_FUNCTION_ARGS)
{
	UtUsageStat stat;
	TupleDesc	desc;
	Datum		values[16];
	bool		nulls[16] = {false};
	int			i;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!ut_stat_read(&stat))
		PG_RETURN_NULL();
	for (i = 0; i < UT_VERDICTS; i++)
		values[i] = Int64GetDatum(stat.verdicts[i]);
	values[i++] = Int64GetDatum(stat.rate_refused);
	values[i++] = Int64GetDatum(stat.rate_uncounted);
	values[i++] = Int64GetDatum(stat.held);
	values[i++] = Int64GetDatum(stat.dropped);
	values[i++] = Int64GetDatum(stat.flushes);
	nulls[i] = stat.last_flush == UT_TIME_UNSET;
	values[i++] = TimestampTzGetDatum(stat.last_flush);
	nulls[i] = nulls[i + 1] = stat.last_error_at == UT_TIME_UNSET;
	values[i++] = CStringGetTextDatum(stat.last_error);
	values[i++] = TimestampTzGetDatum(stat.last_error_at);
	nulls[i] = stat.waits_since == UT_TIME_UNSET;
	values[i++] = TimestampTzGetDatum(stat.waits_since);
	values[i++] = TimestampTzGetDatum(stat.reset_at);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

Datum
unleash_tokens_stat_reset(PG_FUNCTION_ARGS)
{
	ut_stat_reset();
	PG_RETURN_VOID();
}

/* ---- REST door ---- */

Datum
unleash_tokens_rest_api(PG_FUNCTION_ARGS)
{
	PG_RETURN_BYTEA_P(ut_rest_answer(PG_ARGISNULL(0) ? NULL : PG_GETARG_BYTEA_PP(0), false));
}

Datum
unleash_tokens_rest_api_get(PG_FUNCTION_ARGS)
{
	PG_RETURN_BYTEA_P(ut_rest_answer(NULL, false));
}

Datum
unleash_tokens_rest_read(PG_FUNCTION_ARGS)
{
	PG_RETURN_BYTEA_P(ut_rest_answer(PG_ARGISNULL(0) ? NULL : PG_GETARG_BYTEA_PP(0), true));
}

/* ---- Triggers ---- */

/* Is this the table of ours with that name? */
static bool
is_table(Relation relation, const char *name)
{
	return strcmp(RelationGetRelationName(relation), name) == 0 &&
		RelationGetNamespace(relation) == get_namespace_oid("unleash_tokens", false);
}

/*
 * A trigger can be put on any table by who may execute its function; ours rely
 * on the columns of their own tables and on how they are fired there.
 */
static void
expect_trigger(bool expected)
{
	if (!expected)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function can only be called by the triggers of unleash_tokens")));
}

/* Such a trigger may be on any of our registries. */
Datum
unleash_tokens_mark_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	expect_trigger(CALLED_AS_TRIGGER(fcinfo) &&
				   TRIGGER_FIRED_BEFORE(trigger->tg_event) && TRIGGER_FIRED_FOR_ROW(trigger->tg_event) &&
				   TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) &&
				   (is_table(trigger->tg_relation, "project") || is_table(trigger->tg_relation, "environment")));
	return PointerGetDatum(ut_store_mark_changed(trigger));
}

/* No row goes into the table the trigger is on. */
Datum
unleash_tokens_restore_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	expect_trigger(CALLED_AS_TRIGGER(fcinfo) &&
				   TRIGGER_FIRED_BEFORE(trigger->tg_event) && TRIGGER_FIRED_FOR_ROW(trigger->tg_event) &&
				   TRIGGER_FIRED_BY_INSERT(trigger->tg_event) && is_table(trigger->tg_relation, "backup_row"));
	ut_store_restore(trigger);
	return PointerGetDatum(NULL);
}

Datum
unleash_tokens_delete_scopeless_tokens(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	UtActor		actor = ut_caller_sql_actor();
	int			count;
	UtToken    *tokens;

	expect_trigger(CALLED_AS_TRIGGER(fcinfo) &&
				   TRIGGER_FIRED_AFTER(trigger->tg_event) && TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) &&
				   is_table(trigger->tg_relation, "api_token_project"));
	tokens = ut_store_delete_scopeless(trigger, &count);
	ut_service_report_scopeless(tokens, count, &actor);
	return PointerGetDatum(NULL);
}
