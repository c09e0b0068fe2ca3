/*-------------------------------------------------------------------------
 *
 * postgrest.c
 *	  How do we talk with PostgREST?
 *
 * Knows no endpoint and no token.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/json.h"

#include "http/postgrest.h"
#include "rules/field.h"
#include "rules/request.h"

/* After a transaction a setting is empty, not absent: both mean unset. */
const char *
ut_postgrest_get(const char *name)
{
	const char *value = GetConfigOption(name, true, false);

	return value == NULL || *value == '\0' ? NULL : value;
}

/*
 * Local to the transaction: SetConfigOption would leave the value to the next
 * requests of a pooled connection.
 */
static void
set_setting(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

bool
ut_postgrest_is_calling(const char *function)
{
	const char *path = ut_postgrest_get("request.path");

	if (path == NULL || function == NULL)
		return path != NULL;
	return strncmp(path, "/rpc/", 5) == 0 && strcmp(path + 5, function) == 0;
}

bool
ut_postgrest_read_headers(Jsonb **headers, UtProblem *problem)
{
	const char *setting = ut_postgrest_get("request.headers");

	if (setting == NULL ||
		!ut_field_read_json(setting, strlen(setting), GetDatabaseEncoding(), headers, problem) ||
		!JB_ROOT_IS_OBJECT(*headers))
		return ut_problem_set(problem, UT_PROBLEM_BAD_REQUEST, NULL,
							  "The setting request.headers holds no headers.");
	return true;
}

void
ut_postgrest_blank_headers(Jsonb *headers, List *names)
{
	Datum		kept = JsonbPGetDatum(headers);
	ListCell   *cell;

	foreach(cell, names)
		kept = DirectFunctionCall2(jsonb_delete, kept,
								   PointerGetDatum(cstring_to_text(lfirst(cell))));
	set_setting("request.headers",
				JsonbToCString(NULL, &DatumGetJsonbP(kept)->root, -1));
}

void
ut_postgrest_add_header(StringInfo headers, const char *name, const char *value)
{
	appendStringInfoString(headers, headers->len == 0 ? "{" : ",{");
	escape_json(headers, name);
	appendStringInfoChar(headers, ':');
	escape_json(headers, value);
	appendStringInfoChar(headers, '}');
}

const char *
ut_postgrest_challenge(const UtProblemKind *kind)
{
	return strcmp(kind->name, "UnauthorizedError") == 0 ?
		"Bearer realm=\"unleash_tokens\", error=\"invalid_token\"" :
		"Bearer realm=\"unleash_tokens\"";
}

void
ut_postgrest_add_location(StringInfo headers, const char *list, const char *selector)
{
	ut_postgrest_add_header(headers, "Location", psprintf("%s%s", list, selector));
}

void
ut_postgrest_answer(int status, StringInfo headers)
{
	char		digits[12];

	pg_ltoa(status, digits);
	set_setting("response.status", digits);
	set_setting("response.headers", psprintf("[%s]", headers->data));
}
