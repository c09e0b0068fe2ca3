/*-------------------------------------------------------------------------
 *
 * rules/limit.h
 *	  How often may a token be used, and from where?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_LIMIT_H
#define UT_LIMIT_H

#include "utils/jsonb.h"

#include "base/problem.h"
#include "base/token.h"
#include "usage/rate.h"

/* Define the settings unleash_tokens.rate_limit_<type>; once, when the library is loaded. */
extern void ut_limit_init(void);

/*
 * Read rateLimit or allowedIps from a body.  *given tells whether the field is
 * there; one that is not, or is null, stands for no bound.
 */
extern bool ut_limit_read_rate(Jsonb *body, UtRate *rate, bool *given, UtProblem *problem);
extern bool ut_limit_read_sources(Jsonb *body, UtSources *sources, bool *given, UtProblem *problem);

/* May the token be used from that address?  NULL: it is not known. */
extern bool ut_limit_allows(const UtSources *sources, const uint8 *address);

/*
 * Count a use of a token that was found valid, by its own limit or else by that
 * of its type.  state tells what to say of it, rate.limit 0 when there is none.
 * Refused: UT_PROBLEM_RATE_EXCEEDED and UT_PROBLEM_RATE_UNCOUNTED.
 */
extern bool ut_limit_take(const UtToken *token, UtRateState *state, UtProblem *problem);

#endif							/* UT_LIMIT_H */
