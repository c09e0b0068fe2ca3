/*-------------------------------------------------------------------------
 *
 * field.h
 *	  How is a body read, and how one of its fields?
 *
 * A refusal names the field, shows what was sent (cut short, a secret masked)
 * and says what is allowed.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_FIELD_H
#define UT_FIELD_H

#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/problem.h"
#include "base/token.h"

/*
 * Read JSON in the given encoding into *body.  No bytes at all count as {}, as
 * Unleash has it (A-body-07).  False and a problem when they cannot be read;
 * nothing is raised and nothing is logged.
 */
extern bool ut_field_read_json(const char *bytes, int len, int encoding,
							   Jsonb **body, UtProblem *problem);

/* Is the body an object?  NULL is none. */
extern bool ut_field_object(Jsonb *body, UtProblem *problem);

/* The value of a key, or NULL when it is not there. */
extern JsonbValue *ut_field_find(Jsonb *body, const char *key);

/* The value of a key when it is a string, else NULL. */
extern char *ut_field_get_string(Jsonb *body, const char *key);

/* The value of a key that must be a string; *text is NULL when not there. */
extern bool ut_field_string(Jsonb *body, const char *key, const char *path,
							char **text, UtProblem *problem);

/* The value of a key that must be true or false; *value is false when not there. */
extern bool ut_field_boolean(Jsonb *body, const char *key, const char *path,
							 bool *value, UtProblem *problem);

/*
 * Read a time from a field that may be null or missing, which both give
 * UT_TIME_UNSET.
 */
extern bool ut_field_time(Jsonb *body, const char *key, const char *path,
						  TimestampTz *time, UtProblem *problem);

/* Is it a whole number from 0 to most?  Then *number is that. */
extern bool ut_field_whole(const JsonbValue *value, int64 most, int64 *number);

extern bool ut_field_is_array(const JsonbValue *value);

/* The refusal of a body that lacks a required field; always false. */
extern bool ut_field_missing(UtProblem *problem, const char *key, const char *path);

/*
 * The first C0 or C1 control character of a name as U+00XX, or NULL.  Looked
 * for in UTF-8, where those have one form whatever the server's encoding; a
 * name without such a form, which could be in no answer, is "".
 */
extern const char *ut_field_find_control(const char *name);

/*
 * A sent text as it may be shown again: a JSON string, cut short, and of a
 * secret only its public part.
 */
extern const char *ut_field_show(const char *text, int len);

/* A sent value likewise; of an array or object only that it is one. */
extern const char *ut_field_show_value(const JsonbValue *value);

#endif							/* UT_FIELD_H */
