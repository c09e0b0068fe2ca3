/*-------------------------------------------------------------------------
 *
 * problem.h
 *	  What do we reply when we refuse?
 *
 * One table holds every refusal with its Unleash name, HTTP status, SQLSTATE,
 * text and hint; doc/errors.md is made from it.  The doors decide how to say
 * it: rest.c as a JSON answer, the SQL door by ut_problem_raise().
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_PROBLEM_H
#define UT_PROBLEM_H

#include "base/compat.h"

typedef enum UtProblemId
{
	UT_PROBLEM_BAD_REQUEST,
	UT_PROBLEM_JSON_SYNTAX,
	UT_PROBLEM_JSON_CHARACTER,
	UT_PROBLEM_JSON_LIMIT,
	UT_PROBLEM_BODY_NOT_OBJECT,
	UT_PROBLEM_FIELD_REQUIRED,
	UT_PROBLEM_FIELD_TYPE,
	UT_PROBLEM_TYPE_UNKNOWN,
	UT_PROBLEM_TYPE_ADMIN,
	UT_PROBLEM_NAME_LENGTH,
	UT_PROBLEM_NAME_CONTROL,
	UT_PROBLEM_ENVIRONMENT_EMPTY,
	UT_PROBLEM_PROJECTS_LENGTH,
	UT_PROBLEM_PROJECT_TWICE,
	UT_PROBLEM_EXPIRY,
	UT_PROBLEM_LIFETIME,
	UT_PROBLEM_RATE_LIMIT,
	UT_PROBLEM_ALLOWED_IPS,
	UT_PROBLEM_ADMIN_SCOPE,
	UT_PROBLEM_ENVIRONMENT_ALL,
	UT_PROBLEM_ENVIRONMENT_UNKNOWN,
	UT_PROBLEM_LIMIT,
	UT_PROBLEM_PROJECT_UNKNOWN,
	UT_PROBLEM_QUERY,
	UT_PROBLEM_SEARCH,
	UT_PROBLEM_BATCH,
	UT_PROBLEM_LIST_TOO_LARGE,
	UT_PROBLEM_IMPORT_LIST,
	UT_PROBLEM_ROTATION_TIME,
	UT_PROBLEM_ROTATION_EXPIRED,
	UT_PROBLEM_ROTATION_GRACE,
	UT_PROBLEM_ROTATION_RACE,
	UT_PROBLEM_ROTATION_UNUSED,
	UT_PROBLEM_ROTATION_NONE,
	UT_PROBLEM_ROTATION_NOTES,
	UT_PROBLEM_KEY_MISSING,
	UT_PROBLEM_KEY_REFUSED,
	UT_PROBLEM_NOT_ADMIN,
	UT_PROBLEM_NOT_ROTATABLE,
	UT_PROBLEM_NOT_COVERED,
	UT_PROBLEM_REGISTRY_NAME,
	UT_PROBLEM_REGISTRY_TAKEN,
	UT_PROBLEM_ENVIRONMENT_USED,
	UT_PROBLEM_BOUNDS,
	UT_PROBLEM_ALL_PROJECTS,
	UT_PROBLEM_PROJECT_PATH,
	UT_PROBLEM_TOKEN_PROJECTS,
	UT_PROBLEM_GUARD_MISSING,
	UT_PROBLEM_GUARD_REFUSED,
	UT_PROBLEM_GUARD_KEYS,
	UT_PROBLEM_GUARD_JWT,
	UT_PROBLEM_GUARD_OTHER,
	UT_PROBLEM_GUARD_ROLE,
	UT_PROBLEM_RATE_EXCEEDED,
	UT_PROBLEM_RATE_UNCOUNTED,
	UT_PROBLEM_PATH,
	UT_PROBLEM_TOKEN_UNKNOWN,
	UT_PROBLEM_PATH_ENCODING,
	UT_PROBLEM_METHOD,
	UT_PROBLEM_TOO_LARGE,
	UT_PROBLEM_MEDIA,
	UT_PROBLEM_CHARSET,
	UT_PROBLEM_ENCODING,
	UT_PROBLEM_READ_ONLY,
	UT_PROBLEM_VERSION,
	UT_PROBLEM_UNAVAILABLE
} UtProblemId;

#define UT_PROBLEMS (UT_PROBLEM_UNAVAILABLE + 1)

typedef struct UtProblemKind
{
	const char *name;			/* error name of Unleash's protocol */
	int			status;			/* HTTP status */
	int			sqlstate;		/* as MAKE_SQLSTATE */
	const char *message;		/* primary message, fixed text */
	const char *hint;			/* what to do, one sentence */
} UtProblemKind;

/* One refusal: which kind, where, and what exactly. */
typedef struct UtProblem
{
	UtProblemId id;
	const char *path;			/* "/body/type", or NULL */
	const char *detail;			/* a sentence; never holds a secret */
} UtProblem;

/* The table's row. */
extern const UtProblemKind *ut_problem_kind(UtProblemId id);

/*
 * Fill in a refusal; detail is made in the current memory context.  Always
 * returns false, so that a check can end with "return ut_problem_set(...)".
 */
extern bool ut_problem_set(UtProblem *problem, UtProblemId id, const char *path,
						   const char *format,...) pg_attribute_printf(4, 5);

/*
 * Raise a refusal as an ERROR with its SQLSTATE, DETAIL and HINT.  The log does
 * not get the statement, which may hold a secret.
 */
pg_noreturn extern void ut_problem_raise(const UtProblem *problem);

#endif							/* UT_PROBLEM_H */
