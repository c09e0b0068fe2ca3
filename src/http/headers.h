/*-------------------------------------------------------------------------
 *
 * headers.h
 *	  What stands in the headers of a request, and what may stay there?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_HEADERS_H
#define UT_HEADERS_H

#include "nodes/pg_list.h"

#include "base/problem.h"

typedef struct UtHeaders UtHeaders;

/*
 * Those of the request, names in lower case as PostgREST writes them; NULL with a
 * problem (bad request) when the setting is no JSON object.
 */
extern UtHeaders *ut_headers_read(UtProblem *problem);

/* What a header holds; NULL when it is not there or no text. */
extern char *ut_headers_get(const UtHeaders *headers, const char *name);

/*
 * Take headers of these names, which may hold a secret, out of the setting, so
 * that no later statement of the transaction can read them there.
 */
extern void ut_headers_blank(const UtHeaders *headers, List *names);

#endif							/* UT_HEADERS_H */
