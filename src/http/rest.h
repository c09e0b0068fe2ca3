/*-------------------------------------------------------------------------
 *
 * rest.h
 *	  What does this HTTP request want, and how is the answer put on the wire?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_REST_H
#define UT_REST_H

#include "http/endpoint.h"

/*
 * Answer the request that PostgREST hands over.  body is what was sent, NULL
 * for none; only_read keeps to the endpoints that write nothing even on POST.
 * Returns the bytes of the answer; status and headers are set.
 */
extern bytea *ut_rest_answer(bytea *body, bool only_read);

/*
 * Answer a request that is there already: method, target, key, content type and
 * encoding, body.  Only the paths that need no key by themselves are there, and
 * none of these writes.  reply->add_header says how headers are put together;
 * status and headers come back in reply.
 */
extern bytea *ut_rest_answer_open(UtRequest *request, UtReply *reply);

#endif							/* UT_REST_H */
