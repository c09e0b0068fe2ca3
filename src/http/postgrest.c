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

#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"

#include "http/postgrest.h"

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
void
ut_postgrest_set(const char *name, const char *value)
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

/* What is no list of headers is not ours to mend: PostgREST refuses it. */
void
ut_postgrest_append_headers(StringInfo headers)
{
	const char *before = ut_postgrest_get("response.headers");
	size_t		len = before == NULL ? 0 : strlen(before);

	while (len > 0 && (isspace((unsigned char) before[len - 1]) || before[len - 1] == ']'))
	{
		if (before[--len] == ']')
			break;
	}
	if (before == NULL)
		ut_postgrest_set("response.headers", psprintf("[%s]", headers->data));
	else if (len > 0 && before[len] == ']')
		ut_postgrest_set("response.headers", psprintf("%.*s%s%s]", (int) len, before,
													  memchr(before, '{', len) == NULL ? "" : ",", headers->data));
}

void
ut_postgrest_answer_secret(const char *function, int status, const char *selector)
{
	StringInfoData headers;

	if (!ut_postgrest_is_calling(function))
		return;
	initStringInfo(&headers);
	if (selector != NULL)
		ut_postgrest_add_location(&headers, "../api_tokens?selector=eq.", selector);
	ut_postgrest_add_header(&headers, "Cache-Control", "no-store");
	ut_postgrest_answer(status, &headers);
}

void
ut_postgrest_answer(int status, StringInfo headers)
{
	char		digits[12];

	pg_ltoa(status, digits);
	ut_postgrest_set("response.status", digits);
	ut_postgrest_set("response.headers", psprintf("[%s]", headers->data));
}
