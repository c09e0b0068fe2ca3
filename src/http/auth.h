/*-------------------------------------------------------------------------
 *
 * auth.h
 *	  May the bearer of this key pass, and what is told of his token?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_AUTH_H
#define UT_AUTH_H

#include "http/endpoint.h"

/*
 * Forward authentication, as the gateways ask: 204 and the token in the headers
 * X-Token-*, which together stay below 3,072 bytes.  Problems: 401 without a
 * valid key, 400 for a query that cannot be meant, 403 when the token does not
 * cover what the query asks for.
 */
extern bool ut_auth_answer(UtRequest *request, UtReply *reply, UtProblem *problem);

/* The refusal of a path below /auth, which a gateway may have made. */
extern bool ut_auth_refuse_below(UtRequest *request, UtReply *reply, UtProblem *problem);

#endif							/* UT_AUTH_H */
