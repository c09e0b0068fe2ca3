/*-------------------------------------------------------------------------
 *
 * request.c
 *	  What do they ask for?  jsonb -> a request struct, rules in their
 *	  documented order.
 *
 * Knows no table and nothing of HTTP.  A refusal names the field, shows what
 * was sent (cut short, a secret masked) and says what is allowed.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "rules/field.h"
#include "rules/limit.h"
#include "rules/request.h"

#define DEFAULT_GRACE_SECONDS (24 * 60 * 60)
#define DEFAULT_ACTIVATION_SECONDS (7 * 24 * 60 * 60)
#define MAX_SECONDS INT64CONST(99999999999) /* more than 1,000 years have */

#define MAX_NAME 1000			/* characters of a token name */
#define MAX_PROJECTS 1000		/* elements of projects */
#define MAX_TOKENS 5000			/* elements of tokens in /edge/validate that
								 * are looked at */

static bool read_environment(Jsonb *body, char **environment, UtProblem *problem);
static bool read_expiry(Jsonb *body, TimestampTz *expires_at, UtProblem *problem);
static bool read_limits(Jsonb *body, UtCreate *create, UtProblem *problem);
static bool read_name(Jsonb *body, char **name, UtProblem *problem);
static bool read_project(const JsonbValue *value, UtScope *scope, UtProblem *problem);
static bool read_projects(const JsonbValue *value, UtScope *scope, UtProblem *problem);
static bool read_scope(Jsonb *body, UtScope *scope, UtProblem *problem);
static bool read_type(Jsonb *body, UtTokenType *type, UtProblem *problem);

/* How type and environment fit together. */
static bool
fit_environment(UtCreate *create, UtProblem *problem)
{
	if (create->type == UT_TOKEN_ADMIN)
	{
		if (create->environment != NULL && strcmp(create->environment, "*") != 0)
			return ut_problem_set(problem, UT_PROBLEM_ADMIN_SCOPE, "/body/environment",
								  "You sent the environment %s.",
								  ut_field_show(create->environment, strlen(create->environment)));
		create->environment = NULL;
		return true;
	}
	if (create->environment == NULL)
		create->environment = UT_DEFAULT_ENVIRONMENT;
	if (strcmp(create->environment, "*") == 0)
		return ut_problem_set(problem, UT_PROBLEM_ENVIRONMENT_ALL, "/body/environment",
							  "A token of type %s belongs to one environment; you sent \"*\".",
							  ut_token_type_names[create->type]);
	return true;
}

/* For a token of that project alone; what the body says of projects does not count (A-project-08). */
static bool
take_project(const char *project, UtScope *scope)
{
	memset(scope, 0, sizeof(UtScope));
	scope->ids = palloc(sizeof(char *));
	scope->ids[0] = pstrdup(project);
	scope->count = 1;
	return true;
}

static bool
check_type_in_project(UtTokenType type, UtProblem *problem)
{
	return type != UT_TOKEN_ADMIN ||
		ut_problem_set(problem, UT_PROBLEM_TYPE_ADMIN, "/body/type",
					   "The field type must be one of client, backend and frontend. You sent \"admin\".");
}

/*
 * The rules for create.  What a field may be is checked before how the fields
 * fit together.
 */
static bool
read_create(Jsonb *body, const char *project, UtCreate *create, UtProblem *problem)
{
	return ut_field_object(body, problem) &&
		read_type(body, &create->type, problem) &&
		(project == NULL || check_type_in_project(create->type, problem)) &&
		read_name(body, &create->name, problem) &&
		read_environment(body, &create->environment, problem) &&
		(project != NULL ? take_project(project, &create->scope) :
		 read_scope(body, &create->scope, problem)) &&
		read_expiry(body, &create->expires_at, problem) &&
		ut_field_boolean(body, "rotatable", "/body/rotatable", &create->rotatable, problem) &&
		read_limits(body, create, problem) &&
		fit_environment(create, problem);
}

bool
ut_request_create(Jsonb *body, UtCreate *create, UtProblem *problem)
{
	return read_create(body, NULL, create, problem);
}

bool
ut_request_create_in(Jsonb *body, const char *project, UtCreate *create, UtProblem *problem)
{
	return read_create(body, project, create, problem);
}

bool
ut_request_update(Jsonb *body, UtUpdate *update, UtProblem *problem)
{
	if (!ut_field_object(body, problem) ||
		!read_expiry(body, &update->expires_at, problem) ||
		!ut_limit_read_rate(body, &update->rate, &update->has_rate, problem) ||
		!ut_limit_read_sources(body, &update->sources, &update->has_sources, problem))
		return false;
	update->has_expiry = ut_field_find(body, "expiresAt") != NULL;
	/* the one that Unleash knows, and asks for */
	return update->has_expiry || update->has_rate || update->has_sources ||
		ut_field_missing(problem, "expiresAt", "/body/expiresAt");
}

/* Seconds as a JSON number without a fraction. */
static bool
read_seconds(Jsonb *body, int64 *seconds, UtProblem *problem)
{
	JsonbValue *value = ut_field_find(body, "graceSeconds");

	if (value == NULL)
		return true;
	if (value->type != jbvNumeric)
		return ut_problem_set(problem, UT_PROBLEM_FIELD_TYPE, "/body/graceSeconds",
							  "The field graceSeconds must be a number. You sent %s.",
							  ut_field_show_value(value));
	return ut_field_whole(value, MAX_SECONDS, seconds) ||
		ut_problem_set(problem, UT_PROBLEM_ROTATION_TIME, "/body/graceSeconds",
					   "The field graceSeconds must be a whole number of seconds. You sent %s.",
					   ut_field_show_value(value));
}

/* What the times of a rotation may be, whoever asks for them. */
static bool
check_rotate(const UtRotate *rotate, UtProblem *problem)
{
	TimestampTz now = GetCurrentTimestamp();
	Interval	longest = {.month = UT_CLOCK_MAX_YEARS * MONTHS_PER_YEAR};
	TimestampTz end;
	TimestampTz ignored;

	(void) ut_clock_move(now, &longest, false, &end);
	if (!ut_clock_move(now, &rotate->grace, false, &ignored))
		return ut_problem_set(problem, UT_PROBLEM_ROTATION_TIME, "/body/graceSeconds",
							  "The grace would be %s.",
							  DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(&rotate->grace))));
	if (rotate->activate_by <= now || rotate->activate_by > end)
		return ut_problem_set(problem, UT_PROBLEM_ROTATION_TIME, "/body/activateBy",
							  "The new secret would have to be used %s.",
							  rotate->activate_by <= now ? "in the past" : "too far from now");
	return true;
}

bool
ut_request_rotate(Jsonb *body, UtRotate *rotate, UtProblem *problem)
{
	int64		seconds = DEFAULT_GRACE_SECONDS;

	if (!ut_field_object(body, problem) ||
		!read_seconds(body, &seconds, problem) ||
		!ut_field_time(body, "activateBy", "/body/activateBy", &rotate->activate_by, problem))
		return false;
	memset(&rotate->grace, 0, sizeof(Interval));
	rotate->grace.time = seconds * USECS_PER_SEC;
	if (rotate->activate_by == UT_TIME_UNSET)
		rotate->activate_by = GetCurrentTimestamp() + DEFAULT_ACTIVATION_SECONDS * USECS_PER_SEC;
	return check_rotate(rotate, problem);
}

bool
ut_request_rotate_intervals(const Interval *grace, const Interval *activate_by,
							UtRotate *rotate, UtProblem *problem)
{
	rotate->grace = *grace;
	if (!ut_clock_move(GetCurrentTimestamp(), activate_by, false, &rotate->activate_by))
		return ut_problem_set(problem, UT_PROBLEM_ROTATION_TIME, NULL,
							  "activate_by would be %s.",
							  DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(activate_by))));
	return check_rotate(rotate, problem);
}

bool
ut_request_tokens(Jsonb *body, char ***tokens, int *count, UtProblem *problem)
{
	JsonbContainer *array;
	JsonbValue *value;

	if (!ut_field_object(body, problem))
		return false;
	value = ut_field_find(body, "tokens");
	if (value == NULL)
		return ut_field_missing(problem, "tokens", "/body/tokens");
	if (!ut_field_is_array(value))
		return ut_problem_set(problem, UT_PROBLEM_FIELD_TYPE, "/body/tokens",
							  "The field tokens must be an array of strings.");
	array = value->val.binary.data;
	*count = Min(JsonContainerSize(array), MAX_TOKENS);
	*tokens = palloc0(Max(*count, 1) * sizeof(char *));
	for (int i = 0; i < *count; i++)
	{
		JsonbValue *token = getIthJsonbValueFromContainer(array, i);

		if (token->type == jbvBinary)
			return ut_problem_set(problem, UT_PROBLEM_FIELD_TYPE,
								  psprintf("/body/tokens/%d", i),
								  "Each element of tokens must be a string. You sent %s.",
								  ut_field_show_value(token));
		if (token->type == jbvString)
			(*tokens)[i] = pnstrdup(token->val.string.val, token->val.string.len);
	}
	return true;
}

bool
ut_request_type(const char *name, UtTokenType *type)
{
	for (int i = 0; i < UT_TOKEN_TYPES; i++)
	{
		if (pg_strcasecmp(name, ut_token_type_names[i]) == 0)
		{
			*type = (UtTokenType) i;
			return true;
		}
	}
	return false;
}

static bool
read_type(Jsonb *body, UtTokenType *type, UtProblem *problem)
{
	char	   *text;

	if (!ut_field_string(body, "type", "/body/type", &text, problem))
		return false;
	if (text == NULL)
		return ut_field_missing(problem, "type", "/body/type");
	if (ut_request_type(text, type))
		return true;
	return ut_problem_set(problem, UT_PROBLEM_TYPE_UNKNOWN, "/body/type",
						  "The field type must be one of client, backend, frontend and admin. You sent %s.",
						  ut_field_show(text, strlen(text)));
}

static bool
read_name(Jsonb *body, char **name, UtProblem *problem)
{
	const char *fault;
	int			chars;

	if (!ut_field_string(body, "tokenName", "/body/tokenName", name, problem))
		return false;
	if (*name == NULL)
		return ut_field_missing(problem, "tokenName", "/body/tokenName");
	chars = pg_mbstrlen(*name);
	if (chars == 0)
		return ut_problem_set(problem, UT_PROBLEM_NAME_LENGTH, "/body/tokenName",
							  "The field tokenName must not be empty.");
	if (chars > MAX_NAME)
		return ut_problem_set(problem, UT_PROBLEM_NAME_LENGTH, "/body/tokenName",
							  "The field tokenName has %d characters, which is more than %d: %s.",
							  chars, MAX_NAME, ut_field_show(*name, strlen(*name)));
	fault = ut_field_find_control(*name);
	if (fault != NULL && *fault == '\0')
		return ut_problem_set(problem, UT_PROBLEM_JSON_CHARACTER, "/body/tokenName",
							  "The field tokenName holds a character that has no form in UTF-8.");
	if (fault != NULL)
		return ut_problem_set(problem, UT_PROBLEM_NAME_CONTROL, "/body/tokenName",
							  "The field tokenName holds the control character %s.",
							  fault);
	return true;
}

static bool
read_environment(Jsonb *body, char **environment, UtProblem *problem)
{
	if (!ut_field_string(body, "environment", "/body/environment", environment, problem))
		return false;
	if (*environment != NULL && **environment == '\0')
		return ut_problem_set(problem, UT_PROBLEM_ENVIRONMENT_EMPTY, "/body/environment",
							  "The field environment was sent as an empty string.");
	return true;
}

/* All projects only when it is said, or when nothing is said of projects. */
static bool
read_scope(Jsonb *body, UtScope *scope, UtProblem *problem)
{
	JsonbValue *one = ut_field_find(body, "project");
	JsonbValue *many = ut_field_find(body, "projects");

	memset(scope, 0, sizeof(UtScope));
	if (one != NULL && many != NULL)
		return ut_problem_set(problem, UT_PROBLEM_PROJECT_TWICE, "/body/project",
							  "You sent both project and projects.");
	if (one != NULL)
		return read_project(one, scope, problem);
	if (many != NULL)
		return read_projects(many, scope, problem);
	scope->all = true;
	return true;
}

/* Add a project to the scope; "*" makes it all, a repetition changes nothing. */
static void
add_project(UtScope *scope, const JsonbValue *value)
{
	char	   *id = pnstrdup(value->val.string.val, value->val.string.len);

	if (strcmp(id, "*") == 0)
		scope->all = true;
	for (int i = 0; i < scope->count; i++)
	{
		if (strcmp(scope->ids[i], id) == 0)
			return;
	}
	scope->ids[scope->count++] = id;
}

static bool
read_project(const JsonbValue *value, UtScope *scope, UtProblem *problem)
{
	if (value->type != jbvString)
		return ut_problem_set(problem, UT_PROBLEM_FIELD_TYPE, "/body/project",
							  "The field project must be a string. You sent %s.",
							  ut_field_show_value(value));
	scope->ids = palloc(sizeof(char *));
	add_project(scope, value);
	if (scope->all)
		scope->count = 0;
	return true;
}

static bool
read_projects(const JsonbValue *value, UtScope *scope, UtProblem *problem)
{
	JsonbContainer *array;
	uint32		count;

	if (!ut_field_is_array(value))
		return ut_problem_set(problem, UT_PROBLEM_FIELD_TYPE, "/body/projects",
							  "The field projects must be an array of strings. You sent %s.",
							  ut_field_show_value(value));
	array = value->val.binary.data;
	count = JsonContainerSize(array);
	if (count < 1 || count > MAX_PROJECTS)
		return ut_problem_set(problem, UT_PROBLEM_PROJECTS_LENGTH, "/body/projects",
							  "The field projects must have 1 to %d elements. You sent %u.",
							  MAX_PROJECTS, count);
	scope->ids = palloc(count * sizeof(char *));
	for (uint32 i = 0; i < count; i++)
	{
		JsonbValue *id = getIthJsonbValueFromContainer(array, i);

		if (id->type != jbvString)
			return ut_problem_set(problem, UT_PROBLEM_FIELD_TYPE,
								  psprintf("/body/projects/%u", i),
								  "Each element of projects must be a string. You sent %s.",
								  ut_field_show_value(id));
		add_project(scope, id);
	}
	if (scope->all)
		scope->count = 0;
	return true;
}

static bool
read_limits(Jsonb *body, UtCreate *create, UtProblem *problem)
{
	bool		given;

	return ut_limit_read_rate(body, &create->rate, &given, problem) &&
		ut_limit_read_sources(body, &create->sources, &given, problem);
}

static bool
read_expiry(Jsonb *body, TimestampTz *expires_at, UtProblem *problem)
{
	return ut_field_time(body, "expiresAt", "/body/expiresAt", expires_at, problem);
}
