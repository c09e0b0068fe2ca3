/*-------------------------------------------------------------------------
 *
 * endpoint.c
 *	  Which endpoints are there, and what does each of them do?
 *
 * By the time a handler runs the caller is known and the body is read.
 * Knows no table of the database and no header.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "rules/answer.h"
#include "rules/caller.h"
#include "base/encoding.h"
#include "http/endpoint.h"
#include "http/postgrest.h"
#include "rules/request.h"
#include "rules/service.h"

#define TOKENS "/api/admin/api-tokens"
#define HEADER_MAX 4096			/* bytes of the header that names projects */

static bool authorize(UtRequest *request, UtReply *reply, UtProblem *problem);
static bool create_token(UtRequest *request, UtReply *reply, UtProblem *problem);
static bool delete_token(UtRequest *request, UtReply *reply, UtProblem *problem);
static bool list_tokens(UtRequest *request, UtReply *reply, UtProblem *problem);
static bool show_health(UtRequest *request, UtReply *reply, UtProblem *problem);
static bool update_token(UtRequest *request, UtReply *reply, UtProblem *problem);
static bool validate_tokens(UtRequest *request, UtReply *reply, UtProblem *problem);

const UtRoute ut_routes[] = {
	{"GET", TOKENS, 0, list_tokens},
	{"POST", TOKENS, UT_ROUTE_BODY, create_token},
	{"GET", TOKENS "/{}", 0, list_tokens},
	{"PUT", TOKENS "/{}", UT_ROUTE_BODY, update_token},
	{"DELETE", TOKENS "/{}", 0, delete_token},
	{"POST", "/edge/validate", UT_ROUTE_OPEN | UT_ROUTE_BODY | UT_ROUTE_READ, validate_tokens},
	{"GET", "/auth", UT_ROUTE_OPEN, authorize},
	{"GET", "/health", UT_ROUTE_OPEN, show_health},
	{NULL, NULL, 0, NULL}
};

/* All tokens, or those of the name (or selector) in the path. */
static bool
list_tokens(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	return ut_service_list(request->item, &reply->body, problem);
}

static bool
create_token(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	UtActor		actor = ut_caller_token_actor(&request->caller);
	UtCreate	create;
	UtToken		token;
	char	   *secret;

	if (!ut_request_create(request->body, &create, problem) ||
		!ut_service_create(&create, &actor, &token, &secret, problem))
		return false;
	reply->status = 201;
	ut_postgrest_add_header(&reply->headers, "Location",
							psprintf(TOKENS "/%s", token.selector));
	ut_answer_token(&reply->body, &token, secret);
	return true;
}

/* An unknown token is no error: 200 and nothing, as Unleash (A-put-32). */
static bool
update_token(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	UtActor		actor = ut_caller_token_actor(&request->caller);
	TimestampTz expires_at;
	UtToken		token;
	bool		found;

	return ut_request_update(request->body, &expires_at, problem) &&
		ut_service_update(request->item, expires_at, &actor, &token, &found, problem);
}

/* Likewise (A-delete-09). */
static bool
delete_token(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	UtActor		actor = ut_caller_token_actor(&request->caller);

	(void) ut_service_delete(request->item, &actor);
	return true;
}

/* What Unleash Edge asks: which of these secrets are valid, and for what? */
static bool
validate_tokens(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	char	  **secrets;
	int			count;
	bool	   *valid;
	UtToken    *tokens;
	bool		first = true;

	if (!ut_request_tokens(request->body, &secrets, &count, problem))
		return false;
	valid = palloc(Max(count, 1) * sizeof(bool));
	tokens = palloc(Max(count, 1) * sizeof(UtToken));
	ut_service_validate_all(secrets, count, valid, tokens);
	appendStringInfoString(&reply->body, "{\"tokens\":[");
	for (int i = 0; i < count; i++)
	{
		if (!valid[i])
			continue;
		if (!first)
			appendStringInfoChar(&reply->body, ',');
		first = false;
		ut_answer_edge(&reply->body, &tokens[i], secrets[i]);
	}
	appendStringInfoString(&reply->body, "]}");
	return true;
}

/*
 * A header may hold printable ASCII only, and a list is split at commas: every
 * other byte, '%' and ',' are percent-encoded.
 */
static void
append_escaped(StringInfo out, const char *text)
{
	size_t		len;
	const char *utf8 = ut_encoding_to_utf8(text, strlen(text), &len);

	for (size_t i = 0; utf8 != NULL && i < len; i++)
	{
		unsigned char byte = utf8[i];

		if (byte > ' ' && byte < 0x7F && byte != '%' && byte != ',')
			appendStringInfoChar(out, byte);
		else
			appendStringInfo(out, "%%%02X", byte);
	}
}

/*
 * A list too long for a header is left out whole: gateways limit the head of an
 * answer, and half a list would say something else.
 */
static void
add_token_header(UtReply *reply, const char *name, int count, const char *const *values)
{
	StringInfoData value;

	initStringInfo(&value);
	for (int i = 0; i < count; i++)
	{
		if (i > 0)
			appendStringInfoChar(&value, ',');
		append_escaped(&value, values[i]);
		if (count > 1 && value.len > HEADER_MAX)
			return;
	}
	ut_postgrest_add_header(&reply->headers, name, value.data);
}

/*
 * Forward authentication, as nginx's auth_request and Traefik ask: may the
 * bearer of this key pass?
 */
static bool
authorize(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	UtNeed		need;
	UtToken    *caller = &request->caller;
	const char *all = "*";
	const char *environment;

	if (!ut_caller_identify(request->key, caller, problem) ||
		!ut_request_need(request->target, &need, problem) ||
		!ut_caller_require(caller, &need, problem))
		return false;
	environment = caller->environment == NULL ? all : caller->environment;
	reply->status = 204;
	add_token_header(reply, "X-Token-Name", 1, (const char *const *) &caller->name);
	add_token_header(reply, "X-Token-Type", 1, &ut_token_type_names[caller->type]);
	add_token_header(reply, "X-Token-Environment", 1, &environment);
	if (caller->scope.all)
		add_token_header(reply, "X-Token-Projects", 1, &all);
	else
		add_token_header(reply, "X-Token-Projects", caller->scope.count,
						 (const char *const *) caller->scope.ids);
	return true;
}

/* That this runs at all is the answer. */
static bool
show_health(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	appendStringInfoString(&reply->body, "{\"health\":\"GOOD\"}");
	return true;
}
