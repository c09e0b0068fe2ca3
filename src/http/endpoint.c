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

#include "access/xact.h"
#include "access/xlog.h"

#include "http/auth.h"
#include "http/console.h"
#include "http/endpoint.h"
#include "http/postgrest.h"
#include "rules/answer.h"
#include "rules/caller.h"
#include "rules/request.h"
#include "rules/rotation.h"
#include "rules/service.h"
#include "store/version.h"
#include "text/wire.h"
#include "usage/metrics.h"

#define TOKENS "/api/admin/api-tokens"
#define PROJECT_TOKENS "/api/admin/projects/{project}/api-tokens"

static bool cancel_rotation(UtRequest *request, UtReply *reply, UtProblem *problem);
static bool create_project_token(UtRequest *request, UtReply *reply, UtProblem *problem);
static bool create_token(UtRequest *request, UtReply *reply, UtProblem *problem);
static bool delete_project_token(UtRequest *request, UtReply *reply, UtProblem *problem);
static bool delete_token(UtRequest *request, UtReply *reply, UtProblem *problem);
static bool finish_rotation(UtRequest *request, UtReply *reply, UtProblem *problem);
static bool list_tokens(UtRequest *request, UtReply *reply, UtProblem *problem);
static bool rotate_token(UtRequest *request, UtReply *reply, UtProblem *problem);
static bool show_health(UtRequest *request, UtReply *reply, UtProblem *problem);
static bool show_metrics(UtRequest *request, UtReply *reply, UtProblem *problem);
static bool update_token(UtRequest *request, UtReply *reply, UtProblem *problem);
static bool validate_tokens(UtRequest *request, UtReply *reply, UtProblem *problem);

const UtRoute ut_routes[] = {
	{"GET", TOKENS, 0, list_tokens},
	{"POST", TOKENS, UT_ROUTE_BODY | UT_ROUTE_WRITE, create_token},
	{"GET", TOKENS "/{token}", 0, list_tokens},
	{"PUT", TOKENS "/{token}", UT_ROUTE_BODY | UT_ROUTE_WRITE, update_token},
	{"DELETE", TOKENS "/{token}", UT_ROUTE_WRITE, delete_token},
	{"POST", TOKENS "/{token}/rotate", UT_ROUTE_BODY | UT_ROUTE_OPTIONAL | UT_ROUTE_WRITE | UT_ROUTE_SELF, rotate_token},
	{"POST", TOKENS "/{token}/rotate/finish", UT_ROUTE_WRITE | UT_ROUTE_SELF, finish_rotation},
	{"POST", TOKENS "/{token}/rotate/cancel", UT_ROUTE_WRITE | UT_ROUTE_SELF, cancel_rotation},
	{"GET", PROJECT_TOKENS, 0, list_tokens},
	{"POST", PROJECT_TOKENS, UT_ROUTE_BODY | UT_ROUTE_WRITE, create_project_token},
	{"DELETE", PROJECT_TOKENS "/{token}", UT_ROUTE_WRITE, delete_project_token},
	{"GET", "/api/admin/tokens", 0, ut_console_search},
	{"GET", "/api/admin/token-events", UT_ROUTE_UNBOUND, ut_console_events},
	{"GET", "/api/admin/token-choices", 0, ut_console_choices},
	{"GET", "/api/admin/doctor", UT_ROUTE_UNBOUND, ut_console_findings},
	{"POST", "/edge/validate", UT_ROUTE_OPEN | UT_ROUTE_BODY | UT_ROUTE_READ, validate_tokens},
	{"*", "/auth", UT_ROUTE_OPEN, ut_auth_answer},
	{"*", "/auth/**", UT_ROUTE_OPEN, ut_auth_refuse_below},
	{"GET", "/health", UT_ROUTE_OPEN, show_health},
	{"GET", "/metrics", UT_ROUTE_UNBOUND, show_metrics},
	{NULL, NULL, 0, NULL}
};

/* All tokens that the caller manages, or those of the name (or selector), or the project, in the path. */
static bool
list_tokens(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	UtActor		actor = ut_caller_token_actor(&request->caller);
	UtSelection wanted = {.actor = &actor,.name = request->item,.project = request->project};

	return (wanted.project == NULL || ut_service_has_project(wanted.project, &actor, problem)) &&
		ut_service_list(&wanted, &reply->body, problem);
}

static bool
create(UtRequest *request, const UtCreate *wish, UtReply *reply, UtProblem *problem)
{
	UtActor		actor = ut_caller_token_actor(&request->caller);
	UtToken		token;
	char	   *secret;

	if (!ut_service_create(wish, &actor, &token, &secret, problem))
		return false;
	reply->status = 201;
	ut_answer_token(&reply->body, &token, secret);
	ut_postgrest_add_location(&reply->headers, request->ends_with_slash ? "" : "api-tokens/",
							  token.selector);
	return true;
}

static bool
create_token(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	UtCreate	wish;

	return ut_request_create(request->body, &wish, problem) &&
		create(request, &wish, reply, problem);
}

/* The body is read first, as Unleash does (A-project-09, -11). */
static bool
create_project_token(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	UtActor		actor = ut_caller_token_actor(&request->caller);
	UtCreate	wish;

	return ut_request_create_in(request->body, request->project, &wish, problem) &&
		ut_service_has_project(request->project, &actor, problem) &&
		create(request, &wish, reply, problem);
}

/* An unknown token is no error: 200 and nothing, as Unleash (A-put-32). */
static bool
update_token(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	UtActor		actor = ut_caller_token_actor(&request->caller);
	UtUpdate	update;
	UtToken		token;
	bool		found;

	return ut_request_update(request->body, &update, problem) &&
		ut_service_update(request->item, &update, &actor, &token, &found, problem);
}

/* Likewise (A-delete-09). */
static bool
delete_token(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	UtActor		actor = ut_caller_token_actor(&request->caller);

	(void) ut_service_delete(request->item, &actor);
	return true;
}

/* Unlike the above (A-project-15 to -19): an unknown token is 404, one of other projects 400. */
static bool
delete_project_token(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	UtActor		actor = ut_caller_token_actor(&request->caller);

	return ut_service_has_project(request->project, &actor, problem) &&
		ut_service_delete_in(request->project, request->item, &actor, problem);
}

/* Unleash has no such endpoint: an unknown token is 404. */
static bool
rotate_token(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	UtActor		actor = ut_caller_token_actor(&request->caller);
	UtRotate	rotate;
	UtToken		token;
	char	   *secret;

	if (!ut_request_rotate(request->body, &rotate, problem) ||
		!ut_rotation_begin(request->item, &rotate, &actor, &token, &secret, problem))
		return false;
	ut_answer_token(&reply->body, &token, secret);
	return true;
}

static bool
end_rotation(UtRequest *request, bool cancel, UtReply *reply, UtProblem *problem)
{
	UtActor		actor = ut_caller_token_actor(&request->caller);
	UtToken		token;

	if (!ut_rotation_end(request->item, cancel, &actor, &token, problem))
		return false;
	ut_answer_token(&reply->body, &token, NULL);
	return true;
}

static bool
finish_rotation(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	return end_rotation(request, false, reply, problem);
}

static bool
cancel_rotation(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	return end_rotation(request, true, reply, problem);
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

bool
ut_endpoint_can_write(UtProblem *problem)
{
	if (RecoveryInProgress())
		return ut_problem_set(problem, UT_PROBLEM_READ_ONLY, NULL,
							  "It is a standby of another one.");
	if (DefaultXactReadOnly)
		return ut_problem_set(problem, UT_PROBLEM_READ_ONLY, NULL,
							  "Its setting default_transaction_read_only is on.");
	return true;
}

/*
 * Can tokens be read here, and with write=1 in the query, made?  That this runs
 * is most of the answer.
 */
static bool
show_health(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	size_t		path = ut_wire_path_len(request->target, strlen(request->target));
	const char *query = request->target[path] == '?' ? request->target + path + 1 : "";
	size_t		len;
	const char *write = ut_wire_query(query, strlen(query), "write", &len);
	char	   *installed;

	if (!ut_version_agree(&installed))
		return ut_problem_set(problem, UT_PROBLEM_VERSION, NULL,
							  "The library is version %s, the SQL objects are version %s.",
							  UT_VERSION, installed == NULL ? "unknown" : installed);
	if (write != NULL && len == 1 && *write == '1' && !ut_endpoint_can_write(problem))
		return false;
	appendStringInfoString(&reply->body, "{\"health\":\"GOOD\"}");
	return true;
}

/* How the server is, of this database and of all that share its memory. */
static bool
show_metrics(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	reply->type = UT_METRICS_TYPE;
	ut_metrics_append(&reply->body);
	return true;
}
