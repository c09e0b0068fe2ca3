/*-------------------------------------------------------------------------
 *
 * request.h
 *	  What do they ask for?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_REQUEST_H
#define UT_REQUEST_H

#include "utils/jsonb.h"

#include "problem.h"
#include "token.h"

/* The environment of a token that names none (Unleash 8.2.0, A-env-01). */
#define UT_DEFAULT_ENVIRONMENT "development"

/* What create asks for, checked in itself but not yet against the tables. */
typedef struct UtCreate
{
	UtTokenType type;
	char	   *name;
	char	   *environment;	/* NULL for admin: all */
	UtScope		scope;
	TimestampTz expires_at;		/* UT_TIME_UNSET: never */
} UtCreate;

/*
 * Read JSON in the given encoding into *body.  No bytes at all count as {}, as
 * Unleash has it (A-body-07).  False and a problem when they cannot be read;
 * nothing is raised and nothing is logged.
 */
extern bool ut_request_read(const char *bytes, int len, int encoding,
							Jsonb **body, UtProblem *problem);

/* The value of a key when it is a string, else NULL. */
extern char *ut_request_get_string(Jsonb *body, const char *key);

/* Read the body of create by the rules of doc/reference.md, in their order. */
extern bool ut_request_create(Jsonb *body, UtCreate *create, UtProblem *problem);

/*
 * A sent text as it may be shown again: a JSON string, cut short, and of a
 * secret only its public part.
 */
extern const char *ut_request_show(const char *text, int len);

#endif							/* UT_REQUEST_H */
