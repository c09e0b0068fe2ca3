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

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "datetime.h"
#include "request.h"
#include "secret.h"

#define MAX_NAME 1000			/* characters of a token name */
#define MAX_PROJECTS 1000		/* elements of projects */
#define SHOWN 60				/* bytes of a sent value that are shown again */

static const char *check_name(const char *name);
static const char *show_value(const JsonbValue *value);
static bool read_environment(Jsonb *body, char **environment, UtProblem *problem);
static bool read_expiry(Jsonb *body, TimestampTz *expires_at, UtProblem *problem);
static bool read_name(Jsonb *body, char **name, UtProblem *problem);
static bool read_project(const JsonbValue *value, UtScope *scope, UtProblem *problem);
static bool read_projects(const JsonbValue *value, UtScope *scope, UtProblem *problem);
static bool read_scope(Jsonb *body, UtScope *scope, UtProblem *problem);
static bool read_type(Jsonb *body, UtTokenType *type, UtProblem *problem);

/*
 * The rules for create.  What a field may be is checked before how the fields
 * fit together.
 */
bool
ut_request_create(Jsonb *body, UtCreate *create, UtProblem *problem)
{
	if (body == NULL || !JB_ROOT_IS_OBJECT(body))
		return ut_problem_set(problem, UT_PROBLEM_BODY_NOT_OBJECT, "/body",
							  "You sent %s.",
							  body == NULL ? "nothing" :
							  JB_ROOT_IS_SCALAR(body) ? "a single value" : "an array");
	if (!read_type(body, &create->type, problem) ||
		!read_name(body, &create->name, problem) ||
		!read_environment(body, &create->environment, problem) ||
		!read_scope(body, &create->scope, problem) ||
		!read_expiry(body, &create->expires_at, problem))
		return false;

	if (create->type == UT_TOKEN_ADMIN)
	{
		if (create->environment != NULL && strcmp(create->environment, "*") != 0)
			return ut_problem_set(problem, UT_PROBLEM_ADMIN_SCOPE, "/body/environment",
								  "You sent the environment %s.",
								  ut_request_show(create->environment, strlen(create->environment)));
		if (!create->scope.all)
			return ut_problem_set(problem, UT_PROBLEM_ADMIN_SCOPE, "/body/projects",
								  "You sent the project %s.",
								  ut_request_show(create->scope.ids[0], strlen(create->scope.ids[0])));
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

/*
 * Which refusal fits an error of the server's own JSON reader?  None for what
 * is not about the bytes: that goes on as it came.
 */
static bool
judge_error(int sqlstate, UtProblemId *id)
{
	switch (sqlstate)
	{
		case ERRCODE_UNTRANSLATABLE_CHARACTER:
		case ERRCODE_CHARACTER_NOT_IN_REPERTOIRE:
			*id = UT_PROBLEM_JSON_CHARACTER;
			return true;
		case ERRCODE_STATEMENT_TOO_COMPLEX:
		case ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE:
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
			*id = UT_PROBLEM_JSON_LIMIT;
			return true;
		default:
			*id = UT_PROBLEM_JSON_SYNTAX;
			return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_DATA_EXCEPTION;
	}
}

/*
 * The server's JSON reader raises; a subtransaction turns that into a value.
 * What it says is not passed on, because it quotes the body.
 */
bool
ut_request_read(const char *bytes, int len, int encoding, Jsonb **body,
				UtProblem *problem)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool ok = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		char	   *text = pg_any_to_server(pnstrdup(bytes, len), len, encoding);

		*body = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
												   CStringGetDatum(len == 0 ? "{}" : text)));
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;
		UtProblemId id;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (!judge_error(error->sqlerrcode, &id))
			PG_RE_THROW();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		FreeErrorData(error);
		ok = ut_problem_set(problem, id, "/body", "The %d bytes sent were not stored.", len);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return ok;
}

/* The value of a key, or NULL when it is not there. */
static JsonbValue *
find(Jsonb *body, const char *key)
{
	return getKeyJsonValueFromContainer(&body->root, key, strlen(key), NULL);
}

char *
ut_request_get_string(Jsonb *body, const char *key)
{
	JsonbValue *value = JB_ROOT_IS_OBJECT(body) ? find(body, key) : NULL;

	if (value == NULL || value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* The value of a key that must be a string; *text is NULL when not there. */
static bool
find_string(Jsonb *body, const char *key, const char *path, char **text,
			UtProblem *problem)
{
	JsonbValue *value = find(body, key);

	*text = NULL;
	if (value == NULL)
		return true;
	if (value->type != jbvString)
		return ut_problem_set(problem, UT_PROBLEM_FIELD_TYPE, path,
							  "The field %s must be a string. You sent %s.",
							  key, show_value(value));
	*text = pnstrdup(value->val.string.val, value->val.string.len);
	return true;
}

static bool
missing(UtProblem *problem, const char *key, const char *path)
{
	return ut_problem_set(problem, UT_PROBLEM_FIELD_REQUIRED, path,
						  "The field %s is required and was not sent.", key);
}

static bool
read_type(Jsonb *body, UtTokenType *type, UtProblem *problem)
{
	char	   *text;

	if (!find_string(body, "type", "/body/type", &text, problem))
		return false;
	if (text == NULL)
		return missing(problem, "type", "/body/type");
	for (int i = 0; i < UT_TOKEN_TYPES; i++)
	{
		if (pg_strcasecmp(text, ut_token_type_names[i]) == 0)
		{
			*type = (UtTokenType) i;
			return true;
		}
	}
	return ut_problem_set(problem, UT_PROBLEM_TYPE_UNKNOWN, "/body/type",
						  "The field type must be one of client, backend, frontend and admin. You sent %s.",
						  ut_request_show(text, strlen(text)));
}

static bool
read_name(Jsonb *body, char **name, UtProblem *problem)
{
	const char *fault;
	int			chars;

	if (!find_string(body, "tokenName", "/body/tokenName", name, problem))
		return false;
	if (*name == NULL)
		return missing(problem, "tokenName", "/body/tokenName");
	chars = pg_mbstrlen(*name);
	if (chars == 0)
		return ut_problem_set(problem, UT_PROBLEM_NAME_LENGTH, "/body/tokenName",
							  "The field tokenName must not be empty.");
	if (chars > MAX_NAME)
		return ut_problem_set(problem, UT_PROBLEM_NAME_LENGTH, "/body/tokenName",
							  "The field tokenName has %d characters, which is more than %d: %s.",
							  chars, MAX_NAME, ut_request_show(*name, strlen(*name)));
	fault = check_name(*name);
	if (fault != NULL)
		return ut_problem_set(problem, UT_PROBLEM_NAME_CONTROL, "/body/tokenName",
							  "The field tokenName holds the control character %s.",
							  fault);
	return true;
}

/*
 * The first C0 or C1 control character of a name as U+00XX, or NULL.  Looked
 * for in UTF-8, where those have one form whatever the server's encoding.
 */
static const char *
check_name(const char *name)
{
	const unsigned char *byte;

	byte = (unsigned char *) pg_server_to_any(name, strlen(name), PG_UTF8);
	for (; *byte != '\0'; byte++)
	{
		if (*byte < 0x20 || *byte == 0x7F)
			return psprintf("U+%04X", *byte);
		if (*byte == 0xC2 && byte[1] >= 0x80 && byte[1] <= 0x9F)
			return psprintf("U+%04X", byte[1]);
	}
	return NULL;
}

static bool
read_environment(Jsonb *body, char **environment, UtProblem *problem)
{
	if (!find_string(body, "environment", "/body/environment", environment, problem))
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
	JsonbValue *one = find(body, "project");
	JsonbValue *many = find(body, "projects");

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
							  show_value(value));
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

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		return ut_problem_set(problem, UT_PROBLEM_FIELD_TYPE, "/body/projects",
							  "The field projects must be an array of strings. You sent %s.",
							  show_value(value));
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
								  show_value(id));
		add_project(scope, id);
	}
	if (scope->all)
		scope->count = 0;
	return true;
}

static bool
read_expiry(Jsonb *body, TimestampTz *expires_at, UtProblem *problem)
{
	JsonbValue *value = find(body, "expiresAt");
	int64		ms;

	*expires_at = UT_TIME_UNSET;
	if (value == NULL || value->type == jbvNull)
		return true;
	if (value->type != jbvString)
		return ut_problem_set(problem, UT_PROBLEM_FIELD_TYPE, "/body/expiresAt",
							  "The field expiresAt must be a string or null. You sent %s.",
							  show_value(value));
	if (!ut_datetime_parse(value->val.string.val, value->val.string.len, &ms))
		return ut_problem_set(problem, UT_PROBLEM_EXPIRY, "/body/expiresAt",
							  "The field expiresAt must be an RFC 3339 date-time. You sent %s.",
							  show_value(value));
	*expires_at = ut_clock_from_ms(ms);
	return true;
}

const char *
ut_request_show(const char *text, int len)
{
	StringInfoData shown;
	const char *selector;
	char		mask[UT_SECRET_MAX + 8];
	UtSecretKind kind = ut_secret_parse(text, len, &selector);
	char	   *start;
	int			clipped;

	if (kind == UT_SECRET_REFUSED && len > 0 && len <= UT_SECRET_MAX)
		return "a mistyped secret";
	if (selector != NULL)
	{
		len = ut_secret_mask(mask, sizeof(mask), text, len);
		text = mask;
	}
	clipped = pg_mbcliplen(text, len, SHOWN);
	start = pnstrdup(text, clipped);
	initStringInfo(&shown);
	escape_json(&shown, start);
	if (clipped < len)
		appendStringInfo(&shown, " (cut, %d bytes in all)", len);
	return shown.data;
}

static const char *
show_value(const JsonbValue *value)
{
	char	   *number;

	switch (value->type)
	{
		case jbvNull:
			return "null";
		case jbvString:
			return ut_request_show(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			number = DatumGetCString(DirectFunctionCall1(numeric_out,
														 NumericGetDatum(value->val.numeric)));
			return strlen(number) <= SHOWN ? number : "a long number";
		case jbvBool:
			return value->val.boolean ? "true" : "false";
		case jbvBinary:
			return JsonContainerIsArray(value->val.binary.data) ? "an array" : "an object";
		default:
			return "another type";
	}
}
