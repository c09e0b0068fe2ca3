/*-------------------------------------------------------------------------
 *
 * postgrest.h
 *	  How do we talk with PostgREST?
 *
 * It hands a request over in the settings request.* and takes status and
 * headers of the answer from response.*, all local to the transaction.  Any
 * SQL user can set these too: they are input, never proof of anything.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_POSTGREST_H
#define UT_POSTGREST_H

#include "lib/stringinfo.h"

#include "base/problem.h"

/* Are we called by PostgREST as /rpc/<function>?  NULL: whatever is called. */
extern bool ut_postgrest_is_calling(const char *function);

/* A setting of the request; NULL when it is unset or empty. */
extern const char *ut_postgrest_get(const char *name);

/* Set one, for the rest of the transaction. */
extern void ut_postgrest_set(const char *name, const char *value);

/* Add a header to those of an answer; headers starts as an empty StringInfo. */
extern void ut_postgrest_add_header(StringInfo headers, const char *name, const char *value);

/*
 * What a refusal of status 401 says in WWW-Authenticate (RFC 6750 section 3):
 * who sent no key is told of no error.
 */
extern const char *ut_postgrest_challenge(const UtProblemKind *kind);

/*
 * Say where a token is that was made: its selector behind that of its list, both
 * relative to the path of the request (RFC 9110 section 10.2.2).  So it is right
 * whatever prefix gateways put before our paths, and no one has to tell us.
 */
extern void ut_postgrest_add_location(StringInfo headers, const char *list, const char *selector);

/* Add headers to those that somebody set before; the answer may be another's. */
extern void ut_postgrest_append_headers(StringInfo headers);

/*
 * The answer of a SQL function that shows a secret, when PostgREST calls that
 * very one: no cache on the way may keep it.  With a selector it says where the
 * token is.
 */
extern void ut_postgrest_answer_secret(const char *function, int status, const char *selector);

/* Set status and headers of the answer. */
extern void ut_postgrest_answer(int status, StringInfo headers);

#endif							/* UT_POSTGREST_H */
