/*-------------------------------------------------------------------------
 *
 * problem.c
 *	  What do we reply when we refuse?
 *
 * Knows no token, no request and no table of the database.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "base/problem.h"

#define BAD "BadDataError"
#define CONFLICT "ConflictError"
#define INVALID ERRCODE_INVALID_PARAMETER_VALUE
#define DENIED ERRCODE_INSUFFICIENT_PRIVILEGE
#define UNKNOWN ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION

/* Indexed by UtProblemId.  The names are Unleash's, the words are ours. */
static const UtProblemKind kinds[UT_PROBLEMS] = {
	[UT_PROBLEM_BAD_REQUEST] = {BAD, 400, INVALID,
		"the request cannot be understood",
	"Send a well-formed HTTP request through the gateway."},
	[UT_PROBLEM_JSON_SYNTAX] = {BAD, 400, INVALID,
		"the request body is not valid JSON",
	"Send one JSON object, encoded as RFC 8259 says."},
	[UT_PROBLEM_JSON_CHARACTER] = {BAD, 400, INVALID,
		"the request body holds a character that cannot be stored",
	"Send valid UTF-8 without NUL and without unpaired surrogates."},
	[UT_PROBLEM_JSON_LIMIT] = {BAD, 400, INVALID,
		"the request body is nested too deeply or holds too large a number",
	"Leave out what the endpoint does not ask for."},
	[UT_PROBLEM_BODY_NOT_OBJECT] = {BAD, 400, INVALID,
		"the request body must be a JSON object",
	"Send an object such as {\"type\": \"client\", \"tokenName\": \"my-app\"}."},
	[UT_PROBLEM_FIELD_REQUIRED] = {BAD, 400, INVALID,
		"a required field is missing",
	"Add the field to the request body."},
	[UT_PROBLEM_FIELD_TYPE] = {BAD, 400, INVALID,
		"a field has the wrong JSON type",
	"Values are never converted: send the type that is asked for."},
	[UT_PROBLEM_TYPE_UNKNOWN] = {BAD, 400, INVALID,
		"unknown token type",
	"Use client, backend, frontend or admin, in any case."},
	[UT_PROBLEM_TYPE_ADMIN] = {BAD, 400, INVALID,
		"a token of type admin is not made below a project",
	"Use client, backend or frontend here, and /api/admin/api-tokens for an admin token of these projects."},
	[UT_PROBLEM_NAME_LENGTH] = {BAD, 400, INVALID,
		"the token name has a length that is not allowed",
	"Use 1 to 1000 characters."},
	[UT_PROBLEM_NAME_CONTROL] = {BAD, 400, INVALID,
		"the token name holds a control character",
	"Leave out the characters U+0000 to U+001F and U+007F to U+009F."},
	[UT_PROBLEM_ENVIRONMENT_EMPTY] = {BAD, 400, INVALID,
		"the environment must not be empty",
	"Name an environment, or leave the field out for development."},
	[UT_PROBLEM_PROJECTS_LENGTH] = {BAD, 400, INVALID,
		"the list of projects has a length that is not allowed",
	"Name 1 to 1000 projects, or leave the field out for all projects."},
	[UT_PROBLEM_PROJECT_TWICE] = {BAD, 400, INVALID,
		"project and projects exclude each other",
	"Send project for one project or projects for several."},
	[UT_PROBLEM_EXPIRY] = {BAD, 400, INVALID,
		"a time is not a date-time that can be read",
	"Use RFC 3339 such as 2031-05-06T07:08:09Z in the years 0000 to 9999, or null for none."},
	[UT_PROBLEM_LIFETIME] = {BAD, 400, INVALID,
		"the token would live longer than allowed",
	"Send an earlier expiresAt, or none for the latest there may be; unleash_tokens.max_lifetime is the bound."},
	[UT_PROBLEM_RATE_LIMIT] = {BAD, 400, INVALID,
		"the rate limit cannot be kept",
	"Send rateLimit with limit (1 to 1000000), period (1 to 86400 seconds) and, if you like, burst (1 to 100000), or null for none."},
	[UT_PROBLEM_ALLOWED_IPS] = {BAD, 400, INVALID,
		"the list of allowed addresses cannot be kept",
	"Send allowedIps with 1 to 100 addresses or networks such as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32, or null for any."},
	[UT_PROBLEM_ADMIN_SCOPE] = {BAD, 400, INVALID,
		"an admin token reaches all environments",
	"Leave environment out, or set it to *."},
	[UT_PROBLEM_ENVIRONMENT_ALL] = {BAD, 400, INVALID,
		"only an admin token can reach all environments",
	"Name one environment."},
	[UT_PROBLEM_ENVIRONMENT_UNKNOWN] = {BAD, 400, INVALID,
		"the environment does not exist",
	"Name an environment of the table unleash_tokens.environment; case and blanks count."},
	[UT_PROBLEM_LIMIT] = {"ExceedsLimitError", 400, ERRCODE_RAISE_EXCEPTION,
		"there are as many tokens as allowed",
	"Delete tokens, or have the setting unleash_tokens.max_tokens raised."},
	[UT_PROBLEM_PROJECT_UNKNOWN] = {BAD, 400, INVALID,
		"a project does not exist",
	"Name projects of the table unleash_tokens.project; case and blanks count."},
	[UT_PROBLEM_QUERY] = {BAD, 400, INVALID,
		"a query parameter cannot be understood",
	"Use type, project and environment, each at most once and percent-encoded; several types are separated by commas."},
	[UT_PROBLEM_SEARCH] = {BAD, 400, INVALID,
		"a query parameter of a list cannot be read",
	"Use the parameters of this path that doc/openapi.json names, each at most once and percent-encoded."},
	[UT_PROBLEM_BATCH] = {BAD, 400, INVALID,
		"the tokens to make are not an array of at most 100000 objects",
	"Send an array of what create takes, such as [{\"type\": \"client\", \"tokenName\": \"my-app\"}]; split a longer one."},
	[UT_PROBLEM_LIST_TOO_LARGE] = {"ExceedsLimitError", 400, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
		"the list is too large for one answer",
	"Ask for a name, or read the view unleash_tokens.api_tokens in pages."},
	[UT_PROBLEM_IMPORT_LIST] = {BAD, 400, INVALID,
		"there is nothing to import",
	"Give what GET /api/admin/api-tokens of the other server returns: {\"tokens\": [...]}, or the array."},
	[UT_PROBLEM_ROTATION_TIME] = {BAD, 400, INVALID,
		"a length of time is not allowed for a rotation",
	"A grace may be from 0 to 1000 years; a new secret must be used later than now and within 1000 years."},
	[UT_PROBLEM_ROTATION_EXPIRED] = {CONFLICT, 409, ERRCODE_RAISE_EXCEPTION,
		"the token has expired",
	"A rotation never makes a token live longer: give it a later expiresAt first."},
	[UT_PROBLEM_ROTATION_GRACE] = {CONFLICT, 409, ERRCODE_RAISE_EXCEPTION,
		"the new secret of the token is in use",
	"Finish the rotation, which ends the old secret at once, or wait until its grace is over."},
	[UT_PROBLEM_ROTATION_RACE] = {CONFLICT, 409, ERRCODE_RAISE_EXCEPTION,
		"another one changed the secrets of the token at the same time",
	"Use the new secret that the other one was shown, or rotate once more."},
	[UT_PROBLEM_ROTATION_UNUSED] = {CONFLICT, 409, ERRCODE_RAISE_EXCEPTION,
		"the new secret of the token was never used",
	"Without the old one nobody may be left who has a secret: use the new one first, or cancel the rotation."},
	[UT_PROBLEM_ROTATION_NONE] = {CONFLICT, 409, ERRCODE_RAISE_EXCEPTION,
		"the token is not being rotated",
	"Rotate it first."},
	[UT_PROBLEM_ROTATION_NOTES] = {"UnavailableError", 503, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
		"uses of tokens are not recorded, and a new secret waits for its first one",
	"Add unleash_tokens to shared_preload_libraries and restart the server."},
	[UT_PROBLEM_KEY_MISSING] = {"AuthenticationRequired", 401, DENIED,
		"the request carries no API token",
	"Send it in the header Authorization."},
	[UT_PROBLEM_KEY_REFUSED] = {"UnauthorizedError", 401, DENIED,
		"the API token is not valid",
	"It may be mistyped, expired or deleted: use one that is valid."},
	[UT_PROBLEM_NOT_ADMIN] = {"PermissionError", 403, DENIED,
		"the API token does not permit this",
	"Use a token of type admin."},
	[UT_PROBLEM_NOT_ROTATABLE] = {"PermissionError", 403, DENIED,
		"the API token may not rotate this token",
	"Use a token of type admin, or the token itself when it was made with rotatable."},
	[UT_PROBLEM_NOT_COVERED] = {"PermissionError", 403, DENIED,
		"the API token does not cover what is asked for",
	"Use a token of that type, project and environment."},
	[UT_PROBLEM_REGISTRY_NAME] = {BAD, 400, INVALID,
		"a project or environment cannot be called so",
	"Use 1 to 100 characters without control characters, and not * or []."},
	[UT_PROBLEM_REGISTRY_TAKEN] = {CONFLICT, 409, ERRCODE_UNIQUE_VIOLATION,
		"there is one of the new name",
	"Use another name, or delete the other one first."},
	[UT_PROBLEM_ENVIRONMENT_USED] = {CONFLICT, 409, ERRCODE_FOREIGN_KEY_VIOLATION,
		"tokens belong to the environment",
	"Delete these tokens first: no token goes with an environment."},
	[UT_PROBLEM_BOUNDS] = {"PermissionError", 403, DENIED,
		"the API token manages other projects",
	"Name in projects only those that the calling token has itself."},
	[UT_PROBLEM_ALL_PROJECTS] = {"PermissionError", 403, DENIED,
		"the API token manages some projects only",
	"Use a token of type admin that reaches all projects."},
	[UT_PROBLEM_PROJECT_PATH] = {"NotFoundError", 404, ERRCODE_UNDEFINED_OBJECT,
		"there is no such project",
	"Name in the path a project that exists and that the calling token manages."},
	[UT_PROBLEM_TOKEN_PROJECTS] = {BAD, 400, INVALID,
		"the token does not belong to this project alone",
	"Delete it at /api/admin/api-tokens/{token}."},
	[UT_PROBLEM_GUARD_MISSING] = {"AuthenticationRequired", 401, UNKNOWN,
		"the request to the guarded API carries no API token",
	"Send the token in the header apikey."},
	[UT_PROBLEM_GUARD_REFUSED] = {"UnauthorizedError", 401, UNKNOWN,
		"the API token of the request is not valid",
	"It may be mistyped, expired or deleted: use one that is valid."},
	[UT_PROBLEM_GUARD_KEYS] = {BAD, 400, INVALID,
		"the request carries two different keys",
	"Send one token, in one header."},
	[UT_PROBLEM_GUARD_JWT] = {BAD, 400, INVALID,
		"the request carries both a JWT and an API token",
	"Send one of them: a request has one identity."},
	[UT_PROBLEM_GUARD_OTHER] = {BAD, 400, ERRCODE_ACTIVE_SQL_TRANSACTION,
		"the transaction already runs for another API token",
	"Use one token in each transaction."},
	[UT_PROBLEM_GUARD_ROLE] = {"PermissionError", 403, DENIED,
		"the API token has no role in this database",
	"Have a role set for such tokens with unleash_tokens.set_guard_role()."},
	[UT_PROBLEM_RATE_EXCEEDED] = {"RateLimitError", 429, ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
		"the API token is used too often",
	"Come again when the time is over, and less often."},
	[UT_PROBLEM_RATE_UNCOUNTED] = {"UnavailableError", 503, ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
		"uses of the API token cannot be counted, and it has a limit",
	"An operator has to preload the library unleash_tokens, or to raise unleash_tokens.rate_slots."},
	[UT_PROBLEM_PATH] = {"NotFoundError", 404, ERRCODE_UNDEFINED_OBJECT,
		"there is nothing at this path",
	"Paths are exact: see /docs/openapi.json for those there are."},
	[UT_PROBLEM_TOKEN_UNKNOWN] = {"NotFoundError", 404, ERRCODE_UNDEFINED_OBJECT,
		"there is no such token",
	"Name it by its selector or by a full secret that is valid."},
	[UT_PROBLEM_PATH_ENCODING] = {BAD, 400, INVALID,
		"the path is not properly percent-encoded",
	"Write each special character as % and two hexadecimal digits of its UTF-8 bytes."},
	[UT_PROBLEM_METHOD] = {"MethodNotAllowedError", 405, ERRCODE_FEATURE_NOT_SUPPORTED,
		"the path does not take this method",
	"Use one of the methods that the header Allow names."},
	[UT_PROBLEM_TOO_LARGE] = {"PayloadTooLargeError", 413, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
		"the request body is too large",
	"Send at most 102400 bytes."},
	[UT_PROBLEM_MEDIA] = {"ContentTypeError", 415, INVALID,
		"the content type is not accepted",
	"Send JSON with the header Content-Type: application/json."},
	[UT_PROBLEM_CHARSET] = {"ContentTypeError", 415, INVALID,
		"the charset is not accepted",
	"Send UTF-8."},
	[UT_PROBLEM_ENCODING] = {"ContentTypeError", 415, INVALID,
		"the content encoding is not accepted",
	"Send the body as it is, without Content-Encoding."},
	[UT_PROBLEM_READ_ONLY] = {"UnavailableError", 503, ERRCODE_READ_ONLY_SQL_TRANSACTION,
		"this server only reads",
	"Ask a server that writes, or come again when this one does."},
	[UT_PROBLEM_VERSION] = {"UnavailableError", 503, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
		"library and SQL objects are of different versions",
	"An operator has to restart the server or to run ALTER EXTENSION unleash_tokens UPDATE."},
	[UT_PROBLEM_UNAVAILABLE] = {"UnavailableError", 503, ERRCODE_CANNOT_CONNECT_NOW,
		"the service is not available",
	"Try again shortly."},
};

const UtProblemKind *
ut_problem_kind(UtProblemId id)
{
	return &kinds[id];
}

bool
ut_problem_set(UtProblem *problem, UtProblemId id, const char *path,
			   const char *format,...)
{
	StringInfoData detail;

	initStringInfo(&detail);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&detail, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&detail, needed);
	}
	problem->id = id;
	problem->path = path;
	problem->detail = detail.data;
	return false;
}

void
ut_problem_raise(const UtProblem *problem)
{
	const UtProblemKind *kind = ut_problem_kind(problem->id);

	ereport(ERROR,
			(errcode(kind->sqlstate),
			 errmsg_internal("%s", kind->message),
			 errdetail_internal("%s", problem->detail),
			 errhint("%s", kind->hint),
			 errhidestmt(true), errhidecontext(true)));
}
