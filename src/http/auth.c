/*-------------------------------------------------------------------------
 *
 * auth.c
 *	  May the bearer of this key pass, and what is told of his token?
 *
 * Knows no table of the database.  What is asked for stands in the query: it
 * is the gateway's, and whatever in it cannot be meant is refused, since a
 * mistyped word must not let more tokens pass.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/encoding.h"
#include "base/scope.h"
#include "http/auth.h"
#include "http/query.h"
#include "rules/caller.h"
#include "rules/field.h"
#include "rules/request.h"
#include "text/datetime.h"

/*
 * Bytes of a value.  Gateways hold the head of an answer in 4,096 bytes (one
 * page, nginx's proxy_buffer_size): with the other headers of ours and of those
 * between there is a quarter of it to spare.
 */
#define NAME_MAX 768
#define ENVIRONMENT_MAX 512
#define PROJECTS_MAX 1536

/* In place of a longer value.  A blank is in no value: there it is encoded. */
#define TOO_LONG "(too long)"
#define TOO_MANY "(too many)"

/* In place of a time. */
#define NEVER "never"

/* What a query may say; the last parameter is that of the client's own path. */
enum
{
	PARAMETER_TYPE, PARAMETER_PROJECT, PARAMETER_ENVIRONMENT, PARAMETER_PATH, PARAMETERS
};

static const char *const parameter_names[PARAMETERS] = {"type", "project", "environment", "path"};

static void add_token_header(UtReply *reply, const char *name, int max, const char *marker,
							 int count, const char *const *values);
static bool read_need(const char *target, UtNeed *need, UtProblem *problem);

bool
ut_auth_answer(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	UtNeed		need;
	UtToken    *caller = &request->caller;
	const char *environment;
	char	   *const *projects;
	char		expiry[UT_DATETIME_LEN + 1] = NEVER;
	int			count;

	if (!ut_caller_identify(&request->key, caller, &request->rate, problem) ||
		!read_need(request->target, &need, problem) ||
		!ut_caller_require(caller, &need, problem))
		return false;
	environment = ut_scope_environment(caller);
	projects = ut_scope_projects(&caller->scope, &count);
	reply->status = 204;
	add_token_header(reply, "X-Token-Name", NAME_MAX, TOO_LONG,
					 1, (const char *const *) &caller->name);
	add_token_header(reply, "X-Token-Type", NAME_MAX, TOO_LONG,
					 1, &ut_token_type_names[caller->type]);
	add_token_header(reply, "X-Token-Environment", ENVIRONMENT_MAX, TOO_LONG, 1, &environment);
	add_token_header(reply, "X-Token-Projects", PROJECTS_MAX, TOO_MANY,
					 count, (const char *const *) projects);
	if (caller->expires_at != UT_TIME_UNSET)
		ut_datetime_format(ut_clock_to_ms(caller->expires_at), expiry);
	reply->add_header(&reply->headers, "X-Token-Expires-At", expiry);
	return true;
}

/*
 * Some gateways put the path of the client's request behind the one they are
 * told to ask.  To answer there would let a query pass unread, which may be the
 * client's or the gateway's; so it is said how to append it.
 */
bool
ut_auth_refuse_below(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	return ut_problem_set(problem, UT_PROBLEM_PATH, NULL,
						  "Nothing is below /auth. A gateway that appends the path it was asked for can append it to /auth?path= instead.");
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
 * What is too long is replaced whole: half of it would say something else.  And
 * it is there in any case: a gateway might let the client's own header through
 * in its place.
 */
static void
add_token_header(UtReply *reply, const char *name, int max, const char *marker,
				 int count, const char *const *values)
{
	StringInfoData value;

	initStringInfo(&value);
	for (int i = 0; i < count && value.len <= max; i++)
	{
		if (i > 0)
			appendStringInfoChar(&value, ',');
		append_escaped(&value, values[i]);
	}
	reply->add_header(&reply->headers, name, value.len <= max ? value.data : marker);
}

/* Types by their names, with commas between them. */
static bool
read_types(char *names, uint32 *types, UtProblem *problem)
{
	UtTokenType type;

	for (char *name = names; name != NULL; name = names)
	{
		names = strchr(name, ',');
		if (names != NULL)
			*names++ = '\0';
		if (!ut_request_type(name, &type))
			return ut_problem_set(problem, UT_PROBLEM_QUERY, NULL,
								  "The query parameter type must name client, backend, frontend or admin, or several with commas between them. You sent %s.",
								  ut_field_show(name, strlen(name)));
		*types |= UT_TYPE_BIT(type);
	}
	return true;
}

static bool
read_need(const char *target, UtNeed *need, UtProblem *problem)
{
	char	   *values[PARAMETERS] = {NULL};

	/* from the client's own path on, the query is the client's */
	if (!ut_query_read(target, UT_PROBLEM_QUERY, parameter_names, PARAMETERS, PARAMETER_PATH, values, problem))
		return false;
	need->types = 0;
	need->project = values[PARAMETER_PROJECT];
	need->environment = values[PARAMETER_ENVIRONMENT];
	return values[PARAMETER_TYPE] == NULL || read_types(values[PARAMETER_TYPE], &need->types, problem);
}
