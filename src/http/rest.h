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

/*
 * Answer the request that PostgREST hands over.  body is what was sent, NULL
 * for none; only_read keeps to the endpoints that write nothing even on POST.
 * Returns the bytes of the answer; status and headers are set.
 */
extern bytea *ut_rest_answer(bytea *body, bool only_read);

#endif							/* UT_REST_H */
