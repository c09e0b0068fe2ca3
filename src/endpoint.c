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

#include "answer.h"
#include "caller.h"
#include "endpoint.h"
#include "request.h"
#include "service.h"

#define TOKENS "/api/admin/api-tokens"

static bool create_token(UtRequest *request, UtReply *reply, UtProblem *problem);
static bool show_health(UtRequest *request, UtReply *reply, UtProblem *problem);

const UtRoute ut_routes[] = {
	{"POST", TOKENS, UT_ROUTE_BODY, create_token},
	{"GET", "/health", UT_ROUTE_OPEN, show_health},
	{NULL, NULL, 0, NULL}
};

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
	reply->location = psprintf(TOKENS "/%s", token.selector);
	ut_answer_token(&reply->body, &token, secret);
	return true;
}

/* That this runs at all is the answer. */
static bool
show_health(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	appendStringInfoString(&reply->body, "{\"health\":\"GOOD\"}");
	return true;
}
