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
#include "utils/numeric.h"
#include "utils/uuid.h"

#include "rules/answer.h"
#include "base/clock.h"
#include "base/scope.h"
#include "rules/validity.h"
#include "text/datetime.h"

/* What each token of a list has at least, but for its name and its projects. */
#define LISTED_LEAST \
	"{\"tokenName\":\"\",\"projects\":[],\"project\":\"\",\"environment\":\"*\",\"type\":\"admin\"," \
	"\"createdAt\":\"2026-01-01T00:00:00.000Z\",\"expiresAt\":null,\"seenAt\":null,\"alias\":null," \
	"\"secret\":\"0123456789012345678901\",\"secure\":true},"

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
	int			count;
	char	   *const *projects = ut_scope_projects(scope, &count);

	append_key(out, KEY("projects"));
	appendStringInfoChar(out, '[');
	for (int i = 0; i < count; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		append_string(out, projects[i]);
	}
	appendStringInfoChar(out, ']');
}

/* All projects joined by commas, as Unleash 8.2.0 does it. */
static char *
join_projects(const UtScope *scope)
{
	int			count;
	char	   *const *projects = ut_scope_projects(scope, &count);
	StringInfoData joined;

	if (count == 1)
		return pstrdup(projects[0]);
	initStringInfo(&joined);
	for (int i = 0; i < count; i++)
		appendStringInfo(&joined, "%s%s", i > 0 ? "," : "", projects[i]);
	return joined.data;
}

/* Only where there is one, so that an answer is Unleash's otherwise. */
static void
append_rotation(StringInfo out, const UtToken *token)
{
	UtValidity	validity = ut_validity_of(token);

	if (validity != UT_VALIDITY_PENDING && validity != UT_VALIDITY_GRACE)
		return;
	append_key(out, KEY("rotation"));
	appendStringInfoChar(out, '{');
	append_text(out, KEY("state"), ut_validity_name(validity));
	if (validity == UT_VALIDITY_PENDING)
		append_time(out, KEY("activateBy"), token->activate_by);
	else
		append_time(out, KEY("oldUntil"), token->old_until);
	appendStringInfoChar(out, '}');
}

static void
append_rate(StringInfo out, const UtRate *rate)
{
	if (rate->limit == 0)
		return;
	append_key(out, KEY("rateLimit"));
	appendStringInfo(out, "{\"limit\":%d,\"period\":%d,\"burst\":%d}",
					 rate->limit, rate->period, rate->burst);
}

static void
append_sources(StringInfo out, const UtSources *sources)
{
	char		network[UT_NETWORK_SIZE];

	if (!sources->listed)
		return;
	append_key(out, KEY("allowedIps"));
	appendStringInfoChar(out, '[');
	for (int i = 0; i < sources->count; i++)
	{
		ut_address_format_network(&sources->networks[i], network);
		appendStringInfo(out, "%s\"%s\"", i > 0 ? "," : "", network);
	}
	appendStringInfoChar(out, ']');
}

void
ut_answer_token(StringInfo out, const UtToken *token, const char *secret)
{
	char	   *project = join_projects(&token->scope);

	appendStringInfoChar(out, '{');
	append_text(out, KEY("tokenName"), token->name);
	append_projects(out, &token->scope);
	append_text(out, KEY("project"), project);
	append_text(out, KEY("environment"), ut_scope_environment(token));
	append_text(out, KEY("type"), ut_token_type_names[token->type]);
	append_time(out, KEY("createdAt"), token->created_at);
	append_time(out, KEY("expiresAt"), token->expires_at);
	append_time(out, KEY("seenAt"), token->seen_at);
	append_text(out, KEY("alias"), token->alias);
	append_rate(out, &token->rate);
	append_sources(out, &token->sources);
	append_text(out, KEY("secret"), secret != NULL ? secret : token->selector);
	appendStringInfoString(out, ",\"secure\":true");
	if (token->rotatable)
		appendStringInfoString(out, ",\"rotatable\":true");
	append_rotation(out, token);
	if (token->created_by != NULL)
		append_text(out, KEY("createdBy"), token->created_by);
	appendStringInfoChar(out, '}');
	pfree(project);
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
	JsonbValue	null = {.type = jbvNull};

	push_string(state, WJB_KEY, key);
	if (text)
		push_string(state, WJB_VALUE, text);
	else
		pushJsonbValue(state, WJB_VALUE, &null);
}

static void
push_projects(JsonbParseState **state, const UtScope *scope)
{
	int			count;
	char	   *const *projects = ut_scope_projects(scope, &count);

	push_string(state, WJB_KEY, "projects");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < count; i++)
		push_string(state, WJB_ELEM, projects[i]);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static void
push_time(JsonbParseState **state, const char *key, TimestampTz time)
{
	char	   *shown = NULL;

	if (time != UT_TIME_UNSET)
	{
		shown = palloc(UT_DATETIME_LEN + 1);
		ut_datetime_format(ut_clock_to_ms(time), shown);
	}
	push_text(state, key, shown);
}

static void
push_number(JsonbParseState **state, const char *key, int number)
{
	JsonbValue	value = {.type = jbvNumeric};

	push_string(state, WJB_KEY, key);
	value.val.numeric = int64_to_numeric(number);
	pushJsonbValue(state, WJB_VALUE, &value);
}

static void
push_rate(JsonbParseState **state, const UtRate *rate)
{
	if (rate->limit == 0)
		return;
	push_string(state, WJB_KEY, "rateLimit");
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_number(state, "burst", rate->burst);
	push_number(state, "limit", rate->limit);
	push_number(state, "period", rate->period);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

static void
push_sources(JsonbParseState **state, const UtSources *sources)
{
	if (!sources->listed)
		return;
	push_string(state, WJB_KEY, "allowedIps");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < sources->count; i++)
	{
		char	   *network = palloc(UT_NETWORK_SIZE);

		ut_address_format_network(&sources->networks[i], network);
		push_string(state, WJB_ELEM, network);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/*
 * What follows is built without a detour through text.  Keys come in the order
 * in which jsonb keeps them, by length and then by bytes: nothing is left to sort.
 */
Jsonb *
ut_answer_validation(const UtToken *token)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_text(&state, "type", ut_token_type_names[token->type]);
	push_projects(&state, &token->scope);
	push_text(&state, "selector", token->selector);
	push_time(&state, "expiresAt", token->expires_at);
	push_text(&state, "tokenName", token->name);
	push_text(&state, "environment", ut_scope_environment(token));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* As append_rotation(). */
static void
push_rotation(JsonbParseState **state, const UtToken *token)
{
	UtValidity	validity = ut_validity_of(token);

	if (validity != UT_VALIDITY_PENDING && validity != UT_VALIDITY_GRACE)
		return;
	push_string(state, WJB_KEY, "rotation");
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_text(state, "state", ut_validity_name(validity));
	if (validity == UT_VALIDITY_PENDING)
		push_time(state, "activateBy", token->activate_by);
	else
		push_time(state, "oldUntil", token->old_until);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* A token as shown; as events keep it when there is nothing to stand as its secret. */
static JsonbValue *
push_token(JsonbParseState **state, const UtToken *token, const char *secret)
{
	JsonbValue	yes = {.type = jbvBool,.val.boolean = true};

	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_text(state, "type", ut_token_type_names[token->type]);
	push_text(state, "alias", token->alias);
	if (secret != NULL)
	{
		push_text(state, "secret", secret);
		push_string(state, WJB_KEY, "secure");
		pushJsonbValue(state, WJB_VALUE, &yes);
	}
	push_time(state, "seenAt", token->seen_at);
	push_text(state, "project", join_projects(&token->scope));
	push_projects(state, &token->scope);
	push_rotation(state, token);
	push_time(state, "createdAt", token->created_at);
	push_time(state, "expiresAt", token->expires_at);
	push_rate(state, &token->rate);
	if (token->rotatable)
	{
		push_string(state, WJB_KEY, "rotatable");
		pushJsonbValue(state, WJB_VALUE, &yes);
	}
	push_text(state, "tokenName", token->name);
	push_sources(state, &token->sources);
	push_text(state, "environment", ut_scope_environment(token));
	return pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

Jsonb *
ut_answer_event_data(const UtToken *token)
{
	JsonbParseState *state = NULL;

	return JsonbValueToJsonb(push_token(&state, token, NULL));
}

Jsonb *
ut_answer_shown(const UtToken *token, const char *secret)
{
	JsonbParseState *state = NULL;

	return JsonbValueToJsonb(push_token(&state, token, secret != NULL ? secret : token->selector));
}

/* ---- An array of many ---- */

/* The bytes of finished objects, and what an array of jsonb has in front of them. */
struct UtShown
{
	StringInfoData body;
	JEntry	   *entries;
	int			count;
};

UtShown *
ut_answer_begin_shown(int room)
{
	UtShown    *shown = palloc(sizeof(UtShown));

	initStringInfo(&shown->body);
	shown->entries = palloc_extended(Max(room, 1) * sizeof(JEntry), MCXT_ALLOC_HUGE);
	shown->count = 0;
	return shown;
}

/* The length of each, but for each so many the offset of its end; an object begins at a multiple of four. */
void
ut_answer_add_shown(UtShown *shown, const UtToken *token, const char *secret)
{
	Jsonb	   *object = ut_answer_shown(token, secret);
	int			begin = shown->body.len;

	appendStringInfoSpaces(&shown->body, INTALIGN(begin) - begin);
	memset(shown->body.data + begin, 0, shown->body.len - begin);
	appendBinaryStringInfo(&shown->body, (char *) &object->root, VARSIZE(object) - VARHDRSZ);
	if (shown->body.len > JENTRY_OFFLENMASK)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the answer would be larger than 256 MB"),
				 errhint("Ask for fewer tokens at once.")));
	shown->entries[shown->count] = JENTRY_ISCONTAINER |
		(shown->count % JB_OFFSET_STRIDE == 0 ? JENTRY_HAS_OFF | shown->body.len : shown->body.len - begin);
	shown->count++;
}

/*
 * Built of its finished parts: to build all anew from their values takes a
 * kilobyte for each token.
 */
Jsonb *
ut_answer_end_shown(UtShown *shown)
{
	Size		entries = shown->count * sizeof(JEntry);
	Size		size = offsetof(Jsonb, root) + offsetof(JsonbContainer, children) + entries + shown->body.len;
	Jsonb	   *answer = palloc(size);

	SET_VARSIZE(answer, size);
	answer->root.header = shown->count | JB_FARRAY;
	memcpy(answer->root.children, shown->entries, entries);
	memcpy((char *) answer->root.children + entries, shown->body.data, shown->body.len);
	return answer;
}

/* ---- A list ---- */

void
ut_answer_begin_list(JsonbParseState **state)
{
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_string(state, WJB_KEY, "tokens");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
}

size_t
ut_answer_add_listed(JsonbParseState **state, const UtToken *token)
{
	int			count;
	char	   *const *projects = ut_scope_projects(&token->scope, &count);
	size_t		size = sizeof(LISTED_LEAST) - 1 + strlen(token->name);

	for (int i = 0; i < count; i++)
		size += 2 * strlen(projects[i]);
	(void) push_token(state, token, token->selector);
	return size;
}

Jsonb *
ut_answer_end_list(JsonbParseState **state)
{
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
	return JsonbValueToJsonb(pushJsonbValue(state, WJB_END_OBJECT, NULL));
}

void
ut_answer_edge(StringInfo out, const UtToken *token, const char *secret)
{
	UtTokenType type = token->type == UT_TOKEN_BACKEND ? UT_TOKEN_CLIENT : token->type;

	appendStringInfoChar(out, '{');
	append_text(out, KEY("token"), secret);
	append_text(out, KEY("type"), ut_token_type_names[type]);
	append_projects(out, &token->scope);
	append_text(out, KEY("environment"), ut_scope_environment(token));
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
ut_answer_jsonb(StringInfo json)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json->data)));
}
