/*-------------------------------------------------------------------------
 *
 * prerequest.c
 *	  How does a request to somebody's own API bring its token, and how does
 *	  it hear that it is refused?
 *
 * PostgREST reads a JWT behind "Bearer" before the database hears of the
 * request, so a token comes in a header of another name, or bare.
 *
 * Knows no table and no role of a token.  Locking: none.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/varlena.h"

#include "http/headers.h"
#include "http/origin.h"
#include "http/postgrest.h"
#include "http/prerequest.h"
#include "http/quota.h"
#include "rules/guard.h"

char	   *ut_guard_headers = NULL;
int			ut_guard_missing = UT_MISSING_REFUSE;

static const struct config_enum_entry missing_names[] = {
	{"refuse", UT_MISSING_REFUSE, false},
	{"anonymous", UT_MISSING_ANONYMOUS, false},
	{NULL, 0, false}
};

/* Names of headers in lower case, as PostgREST writes them; NIL when it is no list of such. */
static List *
read_names(const char *setting)
{
	char	   *text = asc_tolower(setting, strlen(setting));
	List	   *names;
	ListCell   *cell;

	if (!SplitGUCList(text, ',', &names))
		return NIL;
	foreach(cell, names)
	{
		const char *name = lfirst(cell);

		if (*name == '\0' || name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_")] != '\0')
			return NIL;
	}
	return names;
}

static bool
check_headers(char **value, void **extra, GucSource source)
{
	if (read_names(*value) != NIL)
		return true;
	GUC_check_errdetail("Give names of HTTP headers, separated by commas.");
	return false;
}

/* Whoever may set these decides who gets in: superusers, and ALTER ROLE by them. */
void
ut_prerequest_init(void)
{
	DefineCustomStringVariable("unleash_tokens.guard_headers",
							   "Sets the headers that guard() looks for a token in.",
							   NULL,
							   &ut_guard_headers,
							   "apikey, x-api-key, authorization",
							   PGC_SUSET, GUC_LIST_INPUT, check_headers, NULL, NULL);
	DefineCustomEnumVariable("unleash_tokens.guard_missing",
							 "Sets what guard() does with a request without a token.",
							 NULL,
							 &ut_guard_missing,
							 UT_MISSING_REFUSE, missing_names,
							 PGC_SUSET, 0, NULL, NULL, NULL);
}

/* Has PostgREST taken a JWT from this header? */
static bool
is_jwt(const char *authorization)
{
	return authorization != NULL && pg_strncasecmp(authorization, "bearer ", 7) == 0 &&
		authorization[7 + strspn(authorization + 7, " ")] != '\0';
}

/* One of a role that is the anonymous one all the same says nothing. */
static bool
is_identified(const UtHeaders *headers)
{
	const char *anonymous = ut_postgrest_get("pgrst.db_anon_role");

	return is_jwt(ut_headers_get(headers, "authorization")) &&
		(anonymous == NULL || strcmp(anonymous, GetUserNameFromId(GetUserId(), false)) != 0);
}

/* The one key in these headers, NULL without; they become those to blank. */
static bool
find_key(const UtHeaders *headers, List **names, const char **key, UtProblem *problem)
{
	List	   *held = NIL;
	ListCell   *cell;

	*key = NULL;
	foreach(cell, *names)
	{
		const char *name = lfirst(cell);
		const char *value = ut_headers_get(headers, name);

		if (value == NULL || *value == '\0' ||
			(strcmp(name, "authorization") == 0 && is_jwt(value)))
			continue;
		if (*key != NULL && strcmp(*key, value) != 0)
			return ut_problem_set(problem, UT_PROBLEM_GUARD_KEYS, NULL,
								  "The header %s holds another key than one before it.", name);
		*key = value;
		held = lappend(held, lfirst(cell));
	}
	*names = held;
	return true;
}

static bool
guard(UtRateState *rate, UtProblem *problem)
{
	List	   *names = read_names(ut_guard_headers);
	UtHeaders  *headers = ut_headers_read(problem);
	const char *key;

	if (headers == NULL || !find_key(headers, &names, &key, problem))
		return false;
	if (key == NULL)
		return ut_guard_missing == UT_MISSING_ANONYMOUS ||
			ut_problem_set(problem, UT_PROBLEM_GUARD_MISSING, NULL,
						   "None of the headers %s holds one.", ut_guard_headers);
	ut_headers_blank(headers, names);
	if (is_identified(headers))
		return ut_problem_set(problem, UT_PROBLEM_GUARD_JWT, NULL,
							  "The JWT is in the header Authorization.");
	return ut_guard_enter(key, strlen(key), ut_origin_of_guard(headers), rate, problem);
}

static void
add_member(StringInfo json, const char *name, const char *value)
{
	appendStringInfoString(json, json->len == 0 ? "{" : ",");
	escape_json(json, name);
	appendStringInfoChar(json, ':');
	escape_json(json, value);
}

/* Version 11 and those before know a status only, by the SQLSTATE. */
static void
raise_status(const UtProblemKind *kind, const UtProblem *problem)
{
	char		state[6];

	snprintf(state, sizeof(state), "PT%03d", kind->status);
	ereport(ERROR,
			(errcode(MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4])),
			 errmsg_internal("%s", kind->message),
			 errdetail_internal("%s", problem->detail),
			 errhint("%s", kind->hint)));
}

/* A 503 would let PostgREST connect anew and read the schema again: it goes as 500. */
static void
raise_problem(const UtProblem *problem, const UtRateState *rate)
{
	const UtProblemKind *kind = ut_problem_kind(problem->id);
	const char *version = ut_postgrest_get("application_name");
	StringInfoData body;
	StringInfoData headers;

	if (version != NULL && strncmp(version, "PostgREST ", 10) == 0 && strtol(version + 10, NULL, 10) < 12)
		raise_status(kind, problem);
	initStringInfo(&body);
	add_member(&body, "code", kind->name);
	add_member(&body, "message", kind->message);
	add_member(&body, "details", problem->detail);
	add_member(&body, "hint", kind->hint);
	initStringInfo(&headers);
	add_member(&headers, "Cache-Control", "no-store");
	if (kind->status == 401)
		add_member(&headers, "WWW-Authenticate", ut_postgrest_challenge(kind));
	ut_quota_add_headers(&headers, rate, kind->status == 429, add_member);
	ereport(ERROR,
			(errcode(MAKE_SQLSTATE('P', 'G', 'R', 'S', 'T')),
			 errmsg_internal("%s}", body.data),
			 errdetail_internal("{\"status\":%d,\"headers\":%s}}", kind->status == 503 ? 500 : kind->status, headers.data)));
}

void
ut_prerequest_guard(void)
{
	UtRateState rate = {0};
	UtProblem	problem;
	StringInfoData headers;

	if (!guard(&rate, &problem))
		raise_problem(&problem, &rate);
	if (rate.rate.limit == 0)
		return;
	initStringInfo(&headers);
	ut_quota_add_headers(&headers, &rate, false, ut_postgrest_add_header);
	ut_postgrest_append_headers(&headers);
}
