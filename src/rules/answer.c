/*-------------------------------------------------------------------------
 *
 * answer.c
 *	  What do we reply?  token -> JSON in Unleash's shape, dates.
 *
 * Knows no table.  JSON is written as text in one pass, in the server's
 * encoding.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/uuid.h"

#include "rules/answer.h"
#include "base/clock.h"
#include "text/datetime.h"

/* A key as JSON has it, and its length. */
#define KEY(name) "\"" name "\":", sizeof("\"" name "\":") - 1

/* Append a key, with a comma before all but the first one. */
static void
append_key(StringInfo out, const char *key, size_t len)
{
	if (out->data[out->len - 1] != '{')
		appendStringInfoChar(out, ',');
	appendBinaryStringInfo(out, key, len);
}

/* Most texts need no escapes and are copied as they are: a list has many. */
static void
append_string(StringInfo out, const char *text)
{
	size_t		len = 0;

	while ((unsigned char) text[len] >= ' ' && text[len] != '"' && text[len] != '\\')
		len++;
	if (text[len] != '\0')
	{
		escape_json(out, text);
		return;
	}
	appendStringInfoChar(out, '"');
	appendBinaryStringInfo(out, text, len);
	appendStringInfoChar(out, '"');
}

static void
append_text(StringInfo out, const char *key, size_t len, const char *text)
{
	append_key(out, key, len);
	if (text == NULL)
		appendBinaryStringInfo(out, "null", 4);
	else
		append_string(out, text);
}

static void
append_time(StringInfo out, const char *key, size_t len, TimestampTz time)
{
	char		shown[UT_DATETIME_LEN + 1];

	if (time != UT_TIME_UNSET)
		ut_datetime_format(ut_clock_to_ms(time), shown);
	append_text(out, key, len, time == UT_TIME_UNSET ? NULL : shown);
}

static void
append_projects(StringInfo out, const UtScope *scope)
{
	append_key(out, KEY("projects"));
	if (scope->all)
	{
		appendStringInfoString(out, "[\"*\"]");
		return;
	}
	appendStringInfoChar(out, '[');
	for (int i = 0; i < scope->count; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		append_string(out, scope->ids[i]);
	}
	appendStringInfoChar(out, ']');
}

/* All projects joined by commas, as Unleash 8.2.0 does it. */
static void
append_project(StringInfo out, const UtScope *scope)
{
	StringInfoData joined;

	if (scope->all || scope->count == 1)
	{
		append_text(out, KEY("project"), scope->all ? "*" : scope->ids[0]);
		return;
	}
	initStringInfo(&joined);
	for (int i = 0; i < scope->count; i++)
		appendStringInfo(&joined, "%s%s", i > 0 ? "," : "", scope->ids[i]);
	append_text(out, KEY("project"), joined.data);
	pfree(joined.data);
}

static const char *
shown_environment(const UtToken *token)
{
	return token->environment == NULL ? "*" : token->environment;
}

/* The keys that answers and events share. */
static void
append_common(StringInfo out, const UtToken *token)
{
	append_text(out, KEY("tokenName"), token->name);
	append_projects(out, &token->scope);
	append_project(out, &token->scope);
	append_text(out, KEY("environment"), shown_environment(token));
	append_text(out, KEY("type"), ut_token_type_names[token->type]);
	append_time(out, KEY("createdAt"), token->created_at);
	append_time(out, KEY("expiresAt"), token->expires_at);
	append_time(out, KEY("seenAt"), token->seen_at);
	append_text(out, KEY("alias"), token->alias);
}

void
ut_answer_token(StringInfo out, const UtToken *token, const char *secret)
{
	appendStringInfoChar(out, '{');
	append_common(out, token);
	append_text(out, KEY("secret"), secret != NULL ? secret : token->selector);
	appendStringInfoString(out, ",\"secure\":true}");
}

static void
push_string(JsonbParseState **state, JsonbIteratorToken place, const char *text)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	pushJsonbValue(state, place, &value);
}

static void
push_text(JsonbParseState **state, const char *key, const char *text)
{
	push_string(state, WJB_KEY, key);
	push_string(state, WJB_VALUE, text);
}

static void
push_projects(JsonbParseState **state, const UtScope *scope)
{
	push_string(state, WJB_KEY, "projects");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	if (scope->all)
		push_string(state, WJB_ELEM, "*");
	for (int i = 0; i < scope->count; i++)
		push_string(state, WJB_ELEM, scope->ids[i]);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/* Built without the detour through text: nothing is called more often. */
Jsonb *
ut_answer_validation(const UtToken *token)
{
	JsonbParseState *state = NULL;
	JsonbValue	null = {.type = jbvNull};
	char		shown[UT_DATETIME_LEN + 1];

	/* in the order in which jsonb keeps keys: nothing is left to sort */
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_text(&state, "type", ut_token_type_names[token->type]);
	push_projects(&state, &token->scope);
	push_text(&state, "selector", token->selector);
	if (token->expires_at == UT_TIME_UNSET)
	{
		push_string(&state, WJB_KEY, "expiresAt");
		pushJsonbValue(&state, WJB_VALUE, &null);
	}
	else
	{
		ut_datetime_format(ut_clock_to_ms(token->expires_at), shown);
		push_text(&state, "expiresAt", shown);
	}
	push_text(&state, "tokenName", token->name);
	push_text(&state, "environment", shown_environment(token));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

void
ut_answer_edge(StringInfo out, const UtToken *token, const char *secret)
{
	UtTokenType type = token->type == UT_TOKEN_BACKEND ? UT_TOKEN_CLIENT : token->type;

	appendStringInfoChar(out, '{');
	append_text(out, KEY("token"), secret);
	append_text(out, KEY("type"), ut_token_type_names[type]);
	append_projects(out, &token->scope);
	append_text(out, KEY("environment"), shown_environment(token));
	appendStringInfoChar(out, '}');
}

void
ut_answer_problem(StringInfo out, const UtProblem *problem)
{
	const UtProblemKind *kind = ut_problem_kind(problem->id);
	Datum		id = DirectFunctionCall1(gen_random_uuid, (Datum) 0);
	char	   *message = psprintf("%s.", kind->message);

	message[0] = pg_toupper((unsigned char) message[0]);
	appendStringInfoChar(out, '{');
	append_text(out, KEY("id"), DatumGetCString(DirectFunctionCall1(uuid_out, id)));
	append_text(out, KEY("name"), kind->name);
	append_text(out, KEY("message"), message);
	append_key(out, KEY("details"));
	appendStringInfoString(out, "[{");
	if (problem->path != NULL)
		append_text(out, KEY("path"), problem->path);
	append_text(out, KEY("message"), psprintf("%s %s", problem->detail, kind->hint));
	appendStringInfoString(out, "}]}");
}

Jsonb *
ut_answer_event_data(const UtToken *token)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	append_common(&json, token);
	appendStringInfoChar(&json, '}');
	return ut_answer_jsonb(&json);
}

Jsonb *
ut_answer_jsonb(StringInfo json)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json->data)));
}
