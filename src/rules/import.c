/*-------------------------------------------------------------------------
 *
 * import.c
 *	  How do the tokens of another Unleash come in?
 *
 * A secret is hashed before anything is written and is in no report.  The
 * fields are read by the rules of create; only what a list states is taken,
 * nothing is widened by what it leaves out.
 *
 * Knows no SQL text.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/base64.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

#include "rules/answer.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/encoding.h"
#include "rules/field.h"
#include "rules/import.h"
#include "rules/request.h"
#include "text/secret.h"
#include "text/strength.h"
#include "rules/service.h"
#include "store/store.h"

#define VERIFIER_CHARS 43		/* 32 bytes in base64url without padding */
#define PUBLISHED (-1.0)		/* instead of the bits of a secret that all
								 * know */
#define STRONG_BITS 128			/* a secret of fewer is named in the report */

static Jsonb *make_report(const UtIncoming *incoming, const double *bits, int count);
static bool find_list(Jsonb *body, JsonbContainer **list, UtProblem *problem);
static void read_element(JsonbValue *element, UtIncoming *incoming, double *bits);
static void read_secret(Jsonb *body, UtIncoming *incoming, double *bits);
static void read_verifier(const char *selector, const char *verifier, UtIncoming *incoming);

bool
ut_import_tokens(Jsonb *body, const UtActor *actor, Jsonb **report, UtProblem *problem)
{
	JsonbContainer *list = NULL;
	int			count;
	UtIncoming *incoming;
	double	   *bits;
	Jsonb	  **events;

	if (!find_list(body, &list, problem))
		return false;
	count = JsonContainerSize(list);
	incoming = palloc_extended(Max(count, 1) * sizeof(UtIncoming), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	bits = palloc0(Max(count, 1) * sizeof(double));
	events = palloc0(Max(count, 1) * sizeof(Jsonb *));
	for (int i = 0; i < count; i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(list, i);

		CHECK_FOR_INTERRUPTS();
		read_element(element, &incoming[i], &bits[i]);
		if (incoming[i].refusal == NULL)
			events[i] = ut_answer_event_data(&incoming[i].token);
	}
	ut_store_check_incoming(incoming, count);
	ut_store_import(incoming, count, events, actor);
	if (ut_max_tokens > 0 && ut_max_tokens < INT_MAX && !ut_store_is_below(ut_max_tokens + 1))
		return ut_problem_set(problem, UT_PROBLEM_LIMIT, NULL,
							  "With these there would be more than %d tokens; nothing was imported.",
							  ut_max_tokens);
	*report = make_report(incoming, bits, count);
	return true;
}

static bool
find_list(Jsonb *body, JsonbContainer **list, UtProblem *problem)
{
	JsonbValue *tokens;

	if (body != NULL && JB_ROOT_IS_ARRAY(body) && !JB_ROOT_IS_SCALAR(body))
	{
		*list = &body->root;
		return true;
	}
	if (body != NULL && JB_ROOT_IS_OBJECT(body))
	{
		tokens = ut_field_find(body, "tokens");
		if (tokens != NULL && ut_field_is_array(tokens))
		{
			*list = tokens->val.binary.data;
			return true;
		}
	}
	(void) ut_problem_set(problem, UT_PROBLEM_IMPORT_LIST, NULL,
						  "There is no list of tokens in what was given.");
	return false;
}

/* A list states project beside projects: the second one counts. */
static Jsonb *
without_project(Jsonb *body)
{
	if (ut_field_find(body, "projects") == NULL)
		return body;
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(body),
											  PointerGetDatum(cstring_to_text("project"))));
}

/* Lists of servers before version 5 say username where later ones say tokenName. */
static Jsonb *
with_token_name(Jsonb *body)
{
	JsonbValue *name = ut_field_find(body, "username");
	JsonbValue	key = {.type = jbvString,.val.string = {.len = 9,.val = "tokenName"}};
	JsonbParseState *state = NULL;
	Jsonb	   *renamed;

	if (name == NULL || name->type == jbvBinary || ut_field_find(body, "tokenName") != NULL)
		return body;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&state, WJB_KEY, &key);
	pushJsonbValue(&state, WJB_VALUE, name);
	renamed = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(body), JsonbPGetDatum(renamed)));
}

static bool
is_true(Jsonb *body, const char *key)
{
	JsonbValue *value = ut_field_find(body, key);

	return value != NULL && value->type == jbvBool && value->val.boolean;
}

/* An element by the rules of create; refusal is set when it breaks one. */
static void
read_element(JsonbValue *element, UtIncoming *incoming, double *bits)
{
	UtToken    *token = &incoming->token;
	TimestampTz now = ut_clock_from_ms(ut_clock_now_ms());
	UtProblem	problem;
	UtCreate	create;
	Jsonb	   *body;

	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
	{
		incoming->refusal = "it is not an object";
		return;
	}
	body = with_token_name(without_project(JsonbValueToJsonb(element)));
	token->name = ut_field_get_string(body, "tokenName");
	if (!ut_request_create(body, &create, &problem) ||
		!ut_field_time(body, "createdAt", NULL, &token->created_at, &problem) ||
		!ut_field_time(body, "seenAt", NULL, &token->seen_at, &problem))
	{
		incoming->refusal = problem.detail;
		return;
	}
	if ((ut_field_find(body, "projects") == NULL && ut_field_find(body, "project") == NULL) ||
		ut_field_find(body, "environment") == NULL)
	{
		incoming->refusal = "it states no projects or no environment";
		return;
	}
	token->name = create.name;
	token->type = create.type;
	token->environment = create.environment;
	token->scope = create.scope;
	token->expires_at = create.expires_at;
	token->rate = create.rate;
	token->sources = create.sources;
	token->alias = ut_field_get_string(body, "alias");
	/* a clock that is ahead makes no token younger, and none used tomorrow */
	token->created_at = token->created_at == UT_TIME_UNSET ? now : Min(token->created_at, now);
	token->seen_at = Min(token->seen_at, now);
	read_secret(body, incoming, bits);
}

/* Either the secret, which is hashed here and forgotten, or its verifier. */
static void
read_secret(Jsonb *body, UtIncoming *incoming, double *bits)
{
	UtToken    *token = &incoming->token;
	char	   *secret = ut_field_get_string(body, "secret");
	char	   *selector = ut_field_get_string(body, "selector");
	char	   *verifier = ut_field_get_string(body, "verifier");
	unsigned char random[UT_SECRET_RANDOM];
	const char *found;
	size_t		len;

	if (verifier != NULL)
	{
		read_verifier(selector != NULL ? selector : secret, verifier, incoming);
		return;
	}
	secret = secret == NULL ? NULL : ut_encoding_to_utf8(secret, strlen(secret), &len);
	if (secret == NULL || len == 0)
	{
		incoming->refusal = "it has no secret, and no selector with its verifier";
		return;
	}
	if (ut_secret_is_selector(secret, len) && is_true(body, "secure"))
	{
		incoming->refusal = "only its selector is known: add its verifier";
		return;
	}
	switch (ut_secret_parse(secret, len, &found))
	{
		case UT_SECRET_REFUSED:
			incoming->refusal = len > UT_SECRET_MAX ? "its secret is too long" :
				"its selector begins with utok, the mark of secrets made here, without their checksum";
			return;
		case UT_SECRET_V1:
			incoming->by_verifier = true;
			token->selector = palloc0(UT_SELECTOR_LEN + 1);
			do
				ut_crypto_random(random, sizeof(random));
			while (!ut_secret_anonymous_selector(token->selector, random, sizeof(random)));
			break;
		default:
			token->selector = pnstrdup(found, UT_SELECTOR_LEN);
	}
	ut_crypto_verifier(secret, len, token->verifier);
	*bits = incoming->by_verifier ? ut_strength_bits(secret, len) : STRONG_BITS;
	if (!ut_strength_is_published(secret, len))
		return;
	*bits = PUBLISHED;
	if (token->type == UT_TOKEN_ADMIN)
		incoming->refusal = "its secret stands in Unleash's own examples, and it would be an admin token";
}

static void
read_verifier(const char *selector, const char *verifier, UtIncoming *incoming)
{
	char		base64[VERIFIER_CHARS + 2];

	if (selector == NULL || !ut_secret_is_selector(selector, strlen(selector)))
		incoming->refusal = "its selector is not 22 characters of A-Z, a-z, 0-9, _ and -";
	else if (ut_secret_is_marked(selector))
		incoming->refusal = "its selector begins with utok, the mark of secrets made here";
	else if (strlen(verifier) != VERIFIER_CHARS)
		incoming->refusal = "its verifier is not 43 characters of base64url";
	else
	{
		for (int i = 0; i < VERIFIER_CHARS; i++)
			base64[i] = verifier[i] == '-' ? '+' : verifier[i] == '_' ? '/' : verifier[i];
		strlcpy(base64 + VERIFIER_CHARS, "=", 2);
		if (pg_b64_decode(base64, VERIFIER_CHARS + 1, (void *) incoming->token.verifier,
						  UT_VERIFIER_LEN) != UT_VERIFIER_LEN)
			incoming->refusal = "its verifier is not base64url";
		incoming->token.selector = pstrdup(selector);
	}
}

/* Append {"index":i,"tokenName":...,"<key>":<what follows>. */
static void
begin_entry(StringInfo out, int index, const UtIncoming *incoming, const char *key)
{
	if (out->data[out->len - 1] != '[')
		appendStringInfoChar(out, ',');
	appendStringInfo(out, "{\"index\":%d,\"tokenName\":", index);
	if (incoming->token.name == NULL)
		appendStringInfoString(out, "null");
	else
		escape_json(out, incoming->token.name);
	appendStringInfo(out, ",\"%s\":", key);
}

static Jsonb *
make_report(const UtIncoming *incoming, const double *bits, int count)
{
	StringInfoData report;
	int			inserted = 0;
	int			unchanged = 0;

	initStringInfo(&report);
	appendStringInfoString(&report, "{\"refused\":[");
	for (int i = 0; i < count; i++)
	{
		const char *refusal = incoming[i].taken ? "another secret has its selector" : incoming[i].refusal;

		inserted += incoming[i].inserted;
		unchanged += refusal == NULL && !incoming[i].inserted;
		if (refusal == NULL)
			continue;
		begin_entry(&report, i, &incoming[i], "reason");
		escape_json(&report, refusal);
		appendStringInfoChar(&report, '}');
	}
	appendStringInfoString(&report, "],\"weak\":[");
	for (int i = 0; i < count; i++)
	{
		if (incoming[i].refusal != NULL || !incoming[i].by_verifier || bits[i] >= STRONG_BITS)
			continue;
		begin_entry(&report, i, &incoming[i], "bits");
		appendStringInfo(&report, "%d%s}", Max((int) bits[i], 0),
						 bits[i] == PUBLISHED ? ",\"published\":true" : "");
	}
	appendStringInfo(&report, "],\"imported\":%d,\"unchanged\":%d}", inserted, unchanged);
	return ut_answer_jsonb(&report);
}
