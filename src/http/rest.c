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

#include "base/compat.h"
#include "base/contact.h"
#include "base/encoding.h"
#include "http/endpoint.h"
#include "http/headers.h"
#include "http/origin.h"
#include "http/postgrest.h"
#include "http/promise.h"
#include "http/quota.h"
#include "http/rest.h"
#include "rules/answer.h"
#include "rules/caller.h"
#include "rules/field.h"
#include "rules/rotation.h"
#include "text/wire.h"

#define RETRY_SECONDS "5"

/*
 * The gateway makes 503 of it.  PostgREST takes an answer of 503 for a sign that
 * its database is gone: it connects anew, reads the schema again, and adds a
 * Retry-After of its own.
 */
#define UNAVAILABLE 500

/* Which routes are there for whoever hands a request over? */
typedef enum Reach
{
	REACH_ALL,
	REACH_READ,					/* those that write nothing even on POST */
	REACH_OPEN					/* those whose paths need no key by themselves */
} Reach;

static bool answer(UtRequest *request, Reach reach, UtReply *reply, UtProblem *problem);
static bool check_caller(UtRequest *request, const UtRoute *path, UtProblem *problem);
static bytea *finish(UtRequest *request, UtReply *reply);
static const UtRoute *find_path(UtRequest *request);
static const UtRoute *find_method(const UtRoute *route, const char *method);
static const char *list_methods(const UtRoute *route);
static bool match_path(const char *pattern, const char *path, size_t len, UtRequest *request);
static bool read_body(UtRequest *request, bool is_optional, UtProblem *problem);
static bool read_segment(const char **segment, UtProblem *problem);
static bool read_request(UtRequest *request, UtProblem *problem);
static void refuse(UtReply *reply, const UtProblem *problem);
static void repeat_refusal(UtReply *reply);

static void
start_reply(UtReply *reply)
{
	reply->status = 200;
	initStringInfo(&reply->body);
	initStringInfo(&reply->headers);
}

bytea *
ut_rest_answer(bytea *body, bool only_read)
{
	UtRequest	request = {.bytes = body};
	UtReply		reply = {.add_header = ut_postgrest_add_header};
	UtProblem	problem;
	bytea	   *bytes;

	start_reply(&reply);
	if (!read_request(&request, &problem) ||
		!answer(&request, only_read ? REACH_READ : REACH_ALL, &reply, &problem))
		refuse(&reply, &problem);
	bytes = finish(&request, &reply);
	ut_postgrest_answer(reply.status == 503 ? UNAVAILABLE : reply.status, &reply.headers);
	return bytes;
}

bytea *
ut_rest_answer_open(UtRequest *request, UtReply *reply)
{
	UtProblem	problem;

	start_reply(reply);
	if (!answer(request, REACH_OPEN, reply, &problem))
		refuse(reply, &problem);
	return finish(request, reply);
}

/* The gateway names what the client sent in headers of its own. */
static bool
read_request(UtRequest *request, UtProblem *problem)
{
	UtHeaders  *headers = ut_headers_read(problem);

	if (headers == NULL)
		return false;
	/* PUT and DELETE may carry a secret in their path */
	ut_headers_blank(headers, list_make2("authorization", "x-original-uri"));
	request->method = ut_headers_get(headers, "x-original-method");
	request->target = ut_headers_get(headers, "x-original-uri");
	request->key.text = ut_headers_get(headers, "authorization");
	request->key.address = ut_origin_of_request(headers);
	request->content_type = ut_headers_get(headers, "x-original-content-type");
	request->content_encoding = ut_headers_get(headers, "x-original-content-encoding");
	if (request->method == NULL || request->target == NULL)
		return ut_problem_set(problem, UT_PROBLEM_BAD_REQUEST, NULL,
							  "The headers X-Original-Method and X-Original-URI are missing.");
	return true;
}

static bool
answer(UtRequest *request, Reach reach, UtReply *reply, UtProblem *problem)
{
	const UtRoute *path = find_path(request);
	const UtRoute *route = path == NULL ? NULL : find_method(path, request->method);
	bool		is_open = path != NULL && (path->flags & UT_ROUTE_OPEN);

	if (!ut_contact_permit(problem))
		return false;
	if (reach != REACH_OPEN && !is_open && !check_caller(request, path, problem))
		return false;
	if (path == NULL ||
		(reach == REACH_READ && (route == NULL || !(route->flags & UT_ROUTE_READ))) ||
		(reach == REACH_OPEN && !is_open))
		return ut_problem_set(problem, UT_PROBLEM_PATH, NULL, "No endpoint has this path.");
	if (route == NULL)
	{
		const char *methods = list_methods(path);

		reply->add_header(&reply->headers, "Allow", methods);
		if (strcmp(request->method, "OPTIONS") != 0)
			return ut_problem_set(problem, UT_PROBLEM_METHOD, NULL,
								  "This path takes the methods %s.", methods);
		reply->status = 204;
		return true;
	}
	if ((route->flags & UT_ROUTE_WRITE) && !ut_endpoint_can_write(problem))
		return false;
	if ((route->flags & UT_ROUTE_BODY) && !read_body(request, route->flags & UT_ROUTE_OPTIONAL, problem))
		return false;
	if (!read_segment(&request->project, problem) ||
		(!(route->flags & UT_ROUTE_SELF) && !read_segment(&request->item, problem)) ||
		!route->handler(request, reply, problem))
		return false;
	if (route->flags & UT_ROUTE_WRITE)
		ut_promise_make();
	return true;
}

/* Who may rotate a token depends on which one it is. */
static bool
check_caller(UtRequest *request, const UtRoute *path, UtProblem *problem)
{
	if (path == NULL || !(path->flags & UT_ROUTE_SELF))
		return ut_caller_require_admin(&request->key, &request->caller, &request->rate, problem) &&
			(path == NULL || !(path->flags & UT_ROUTE_UNBOUND) || ut_caller_require_all(&request->caller, problem));
	return ut_caller_identify(&request->key, &request->caller, &request->rate, problem) &&
		read_segment(&request->item, problem) &&
		ut_rotation_permit(&request->caller, request->key.text, request->item, problem);
}

/*
 * The first route of the path, with what stands for its {} in the request.
 * One final slash is overlooked, as Unleash does (A-methods-13).
 */
static const UtRoute *
find_path(UtRequest *request)
{
	size_t		len = ut_wire_path_len(request->target, strlen(request->target));

	request->ends_with_slash = len > 1 && request->target[len - 1] == '/';
	if (request->ends_with_slash)
		len--;
	for (const UtRoute *route = ut_routes; route->path != NULL; route++)
	{
		if (match_path(route->path, request->target, len, request))
			return route;
	}
	return NULL;
}

static bool
match_path(const char *pattern, const char *path, size_t len, UtRequest *request)
{
	const char *end = path + len;

	request->item = request->project = NULL;
	while (*pattern != '\0')
	{
		size_t		segment = 0;

		if (*pattern == '*')
			return path < end;
		if (*pattern != '{')
		{
			if (path == end || *path++ != *pattern++)
				return false;
			continue;
		}
		while (path + segment < end && path[segment] != '/')
			segment++;
		if (segment == 0)
			return false;
		*(pattern[1] == 'p' ? &request->project : &request->item) = pnstrdup(path, segment);
		path += segment;
		pattern = strchr(pattern, '}') + 1;
	}
	return path == end;
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
		if (strcmp(route->method, method) == 0 || strcmp(route->method, "*") == 0)
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

/* Percent-decoding may give any bytes: only text of our encoding goes on. */
static bool
read_segment(const char **segment, UtProblem *problem)
{
	size_t		len;
	char	   *bytes;

	if (*segment == NULL)
		return true;
	bytes = palloc(strlen(*segment) + 1);
	if (ut_wire_unescape(*segment, strlen(*segment), bytes, &len))
	{
		*segment = ut_encoding_from_utf8(bytes, len);
		if (*segment != NULL)
			return true;
	}
	return ut_problem_set(problem, UT_PROBLEM_PATH_ENCODING, NULL,
						  "A segment of the path cannot be decoded.");
}

static bool
read_body(UtRequest *request, bool is_optional, UtProblem *problem)
{
	const char *type = request->content_type == NULL ? "" : request->content_type;
	const char *encoding = request->content_encoding == NULL ? "" : request->content_encoding;
	int			len = request->bytes == NULL ? 0 : VARSIZE_ANY_EXHDR(request->bytes);

	if (is_optional && *type == '\0' && len == 0)
		type = "application/json";
	switch (ut_wire_media(type, strlen(type)))
	{
		case UT_MEDIA_JSON:
			break;
		case UT_MEDIA_CHARSET:
			return ut_problem_set(problem, UT_PROBLEM_CHARSET, NULL,
								  "You sent the content type %s.",
								  ut_field_show(type, strlen(type)));
		case UT_MEDIA_OTHER:
			return ut_problem_set(problem, UT_PROBLEM_MEDIA, NULL,
								  *type == '\0' ? "You sent no content type." :
								  "You sent the content type %s.",
								  ut_field_show(type, strlen(type)));
	}
	if (!ut_wire_is_identity(encoding, strlen(encoding)))
		return ut_problem_set(problem, UT_PROBLEM_ENCODING, NULL,
							  "You sent the content encoding %s.",
							  ut_field_show(encoding, strlen(encoding)));
	return ut_field_read_json(request->bytes == NULL ? "" : VARDATA_ANY(request->bytes),
							  len, PG_UTF8, &request->body, problem);
}

static void
refuse(UtReply *reply, const UtProblem *problem)
{
	const UtProblemKind *kind = ut_problem_kind(problem->id);

	reply->status = kind->status;
	reply->type = NULL;
	resetStringInfo(&reply->body);
	ut_answer_problem(&reply->body, problem);
	repeat_refusal(reply);
	if (reply->status == 401)
		reply->add_header(&reply->headers, "WWW-Authenticate", ut_postgrest_challenge(kind));
	if (reply->status == 503)
		reply->add_header(&reply->headers, "Retry-After", RETRY_SECONDS);
}

/*
 * The body once more as a header, in ASCII.  By it the gateway tells a refusal
 * of ours from what PostgREST says of itself, which has no such header and goes
 * to no client.
 */
static void
repeat_refusal(UtReply *reply)
{
	size_t		len;
	const char *at = ut_encoding_to_utf8(reply->body.data, reply->body.len, &len);
	const char *end = at + len;
	StringInfoData ascii;

	initStringInfo(&ascii);
	while (at != NULL && at < end)
	{
		pg_wchar	c = utf8_to_unicode((const unsigned char *) at);

		if (c < 0x7F)
			appendStringInfoChar(&ascii, (char) c);
		else if (c < 0x10000)
			appendStringInfo(&ascii, "\\u%04x", c);
		else
			appendStringInfo(&ascii, "\\u%04x\\u%04x", 0xD7C0 + (c >> 10), 0xDC00 + (c & 0x3FF));
		at += pg_encoding_mblen(PG_UTF8, at);
	}
	reply->add_header(&reply->headers, "X-Refusal", ascii.data);
}

/* The last headers, and the body as the bytes to send. */
static bytea *
finish(UtRequest *request, UtReply *reply)
{
	size_t		len;
	char	   *utf8 = ut_encoding_to_utf8(reply->body.data, reply->body.len, &len);
	bytea	   *bytes;

	if (utf8 == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
				 errmsg("could not convert an answer to UTF-8")));
	ut_quota_add_headers(&reply->headers, &request->rate, reply->status == 429, reply->add_header);
	if (reply->body.len > 0)
		reply->add_header(&reply->headers, "Content-Type", reply->type != NULL ? reply->type : "application/json; charset=utf-8");
	else
		reply->add_header(&reply->headers, "Content-Type", "text/plain");
	reply->add_header(&reply->headers, "Cache-Control", "no-store");

	bytes = palloc(VARHDRSZ + len);
	SET_VARSIZE(bytes, VARHDRSZ + len);
	memcpy(VARDATA(bytes), utf8, len);
	return bytes;
}
