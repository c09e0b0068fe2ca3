/*-------------------------------------------------------------------------
 *
 * rest.c
 *	  What does this HTTP request want, and how is the answer put on the wire?
 *
 * The order of checks is 401, 403, 404, 405, 415, then 400.  A refusal is a
 * value: what the entries answer is committed, so it is decided before the
 * first write.
 *
 * Knows no table of the database and no endpoint.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/json.h"

#include "answer.h"
#include "caller.h"
#include "compat.h"
#include "endpoint.h"
#include "postgrest.h"
#include "request.h"
#include "rest.h"
#include "wire.h"

static bool answer(UtRequest *request, bool only_read, UtReply *reply, UtProblem *problem);
static bytea *finish(const UtReply *reply);
static const UtRoute *find_path(UtRequest *request);
static const UtRoute *find_method(const UtRoute *route, const char *method);
static const char *list_methods(const UtRoute *route);
static bool match_path(const char *pattern, const char *path, size_t len, const char **item);
static bool read_body(UtRequest *request, UtProblem *problem);
static bool read_item(UtRequest *request, UtProblem *problem);
static bool read_request(UtRequest *request, UtProblem *problem);
static void refuse(UtReply *reply, const UtProblem *problem);

bytea *
ut_rest_answer(bytea *body, bool only_read)
{
	UtRequest	request = {.bytes = body};
	UtReply		reply = {.status = 200};
	UtProblem	problem;

	initStringInfo(&reply.body);
	if (!read_request(&request, &problem) ||
		!answer(&request, only_read, &reply, &problem))
		refuse(&reply, &problem);
	return finish(&reply);
}

/* The gateway names what the client sent in headers of its own. */
static bool
read_request(UtRequest *request, UtProblem *problem)
{
	Jsonb	   *headers;

	if (!ut_postgrest_take_headers(&headers, problem))
		return false;
	request->method = ut_request_get_string(headers, "x-original-method");
	request->target = ut_request_get_string(headers, "x-original-uri");
	request->key = ut_request_get_string(headers, "authorization");
	request->content_type = ut_request_get_string(headers, "x-original-content-type");
	request->content_encoding = ut_request_get_string(headers, "x-original-content-encoding");
	if (request->method == NULL || request->target == NULL)
		return ut_problem_set(problem, UT_PROBLEM_BAD_REQUEST, NULL,
							  "The headers X-Original-Method and X-Original-URI are missing.");
	return true;
}

static bool
answer(UtRequest *request, bool only_read, UtReply *reply, UtProblem *problem)
{
	const UtRoute *path = find_path(request);
	const UtRoute *route = path == NULL ? NULL : find_method(path, request->method);
	bool		is_open = path != NULL && (path->flags & UT_ROUTE_OPEN);

	if (!is_open && !ut_caller_require_admin(request->key, &request->caller, problem))
		return false;
	if (path == NULL || (only_read && (route == NULL || !(route->flags & UT_ROUTE_READ))))
		return ut_problem_set(problem, UT_PROBLEM_PATH, NULL, "No endpoint has this path.");
	if (route == NULL)
	{
		reply->allow = list_methods(path);
		if (strcmp(request->method, "OPTIONS") != 0)
			return ut_problem_set(problem, UT_PROBLEM_METHOD, NULL,
								  "This path takes the methods %s.", reply->allow);
		reply->status = 204;
		return true;
	}
	if ((route->flags & UT_ROUTE_BODY) && !read_body(request, problem))
		return false;
	return read_item(request, problem) && route->handler(request, reply, problem);
}

/*
 * The first route of the path, with what stands for its {} in request->item.
 * One final slash is overlooked, as Unleash does (A-methods-13).
 */
static const UtRoute *
find_path(UtRequest *request)
{
	size_t		len = ut_wire_path_len(request->target, strlen(request->target));

	if (len > 1 && request->target[len - 1] == '/')
		len--;
	for (const UtRoute *route = ut_routes; route->path != NULL; route++)
	{
		if (match_path(route->path, request->target, len, &request->item))
			return route;
	}
	return NULL;
}

static bool
match_path(const char *pattern, const char *path, size_t len, const char **item)
{
	const char *braces = strstr(pattern, "{}");
	size_t		fixed = braces == NULL ? strlen(pattern) : (size_t) (braces - pattern);

	*item = NULL;
	if (braces == NULL)
		return len == fixed && memcmp(path, pattern, len) == 0;
	if (len <= fixed || memcmp(path, pattern, fixed) != 0 ||
		memchr(path + fixed, '/', len - fixed) != NULL)
		return false;
	*item = pnstrdup(path + fixed, len - fixed);
	return true;
}

/* Among the routes of one path. */
static const UtRoute *
find_method(const UtRoute *route, const char *method)
{
	const char *path = route->path;

	if (strcmp(method, "HEAD") == 0)
		method = "GET";
	for (; route->path != NULL && strcmp(route->path, path) == 0; route++)
	{
		if (strcmp(route->method, method) == 0)
			return route;
	}
	return NULL;
}

static const char *
list_methods(const UtRoute *route)
{
	const char *path = route->path;
	StringInfoData list;

	initStringInfo(&list);
	for (; route->path != NULL && strcmp(route->path, path) == 0; route++)
		appendStringInfo(&list, "%s, ",
						 strcmp(route->method, "GET") == 0 ? "GET, HEAD" : route->method);
	appendStringInfoString(&list, "OPTIONS");
	return list.data;
}

/* Percent-decoding may give any bytes: only UTF-8 goes on, in our encoding. */
static bool
read_item(UtRequest *request, UtProblem *problem)
{
	size_t		len;
	char	   *item;

	if (request->item == NULL)
		return true;
	item = palloc(strlen(request->item) + 1);
	if (!ut_wire_unescape(request->item, strlen(request->item), item, &len) ||
		!pg_verify_mbstr(PG_UTF8, item, len, true))
		return ut_problem_set(problem, UT_PROBLEM_PATH_ENCODING, NULL,
							  "The last segment of the path cannot be decoded.");
	request->item = pg_any_to_server(item, len, PG_UTF8);
	return true;
}

static bool
read_body(UtRequest *request, UtProblem *problem)
{
	const char *type = request->content_type == NULL ? "" : request->content_type;
	const char *encoding = request->content_encoding == NULL ? "" : request->content_encoding;

	switch (ut_wire_media(type, strlen(type)))
	{
		case UT_MEDIA_JSON:
			break;
		case UT_MEDIA_CHARSET:
			return ut_problem_set(problem, UT_PROBLEM_CHARSET, NULL,
								  "You sent the content type %s.",
								  ut_request_show(type, strlen(type)));
		case UT_MEDIA_OTHER:
			return ut_problem_set(problem, UT_PROBLEM_MEDIA, NULL,
								  *type == '\0' ? "You sent no content type." :
								  "You sent the content type %s.",
								  ut_request_show(type, strlen(type)));
	}
	if (!ut_wire_is_identity(encoding, strlen(encoding)))
		return ut_problem_set(problem, UT_PROBLEM_ENCODING, NULL,
							  "You sent the content encoding %s.",
							  ut_request_show(encoding, strlen(encoding)));
	return ut_request_read(request->bytes == NULL ? "" : VARDATA_ANY(request->bytes),
						   request->bytes == NULL ? 0 : VARSIZE_ANY_EXHDR(request->bytes),
						   PG_UTF8, &request->body, problem);
}

static void
refuse(UtReply *reply, const UtProblem *problem)
{
	reply->status = ut_problem_kind(problem->id)->status;
	resetStringInfo(&reply->body);
	ut_answer_problem(&reply->body, problem);
}

static void
add_header(StringInfo headers, const char *name, const char *value)
{
	appendStringInfoString(headers, headers->len == 0 ? "[{" : ",{");
	escape_json(headers, name);
	appendStringInfoChar(headers, ':');
	escape_json(headers, value);
	appendStringInfoChar(headers, '}');
}

/* Status and headers to PostgREST, the body as the bytes to send. */
static bytea *
finish(const UtReply *reply)
{
	StringInfoData headers;
	char	   *text = pg_server_to_any(reply->body.data, reply->body.len, PG_UTF8);
	size_t		len = text == reply->body.data ? (size_t) reply->body.len : strlen(text);
	bytea	   *bytes = palloc(VARHDRSZ + len);

	initStringInfo(&headers);
	add_header(&headers, "Content-Type", "application/json; charset=utf-8");
	add_header(&headers, "Cache-Control", "no-store");
	if (reply->location != NULL)
		add_header(&headers, "Location", reply->location);
	if (reply->allow != NULL)
		add_header(&headers, "Allow", reply->allow);
	if (reply->status == 401)
		add_header(&headers, "WWW-Authenticate", "Bearer");
	appendStringInfoChar(&headers, ']');
	ut_postgrest_answer(reply->status, headers.data);

	SET_VARSIZE(bytes, VARHDRSZ + len);
	memcpy(VARDATA(bytes), text, len);
	return bytes;
}
