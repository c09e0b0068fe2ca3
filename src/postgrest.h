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

#include "utils/jsonb.h"

#include "problem.h"

/* Are we called by PostgREST as /rpc/<function>? */
extern bool ut_postgrest_is_calling(const char *function);

/*
 * The headers of the request, keys in lower case.  The key in Authorization is
 * blanked in the setting, so that no later statement can read it there.
 */
extern bool ut_postgrest_take_headers(Jsonb **headers, UtProblem *problem);

/*
 * Set status and headers of the answer; headers is a JSON array of one-key
 * objects.
 */
extern void ut_postgrest_answer(int status, const char *headers);

#endif							/* UT_POSTGREST_H */
