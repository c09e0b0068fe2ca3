/*-------------------------------------------------------------------------
 *
 * quota.c
 *	  How is a client told how often it may come?
 *
 * Knows no endpoint and no token.  Locking: none.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http/quota.h"

/*
 * The draft has no word for how many may come at once; parameters of one's own
 * are named for who made them.
 */
static char *
format_policy(const UtRateState *state)
{
	char	   *burst = state->rate.burst == state->rate.limit ? "" :
		psprintf(";unleash-burst=%d", state->rate.burst);

	return psprintf("\"%s\";q=%d;w=%d%s", state->policy, state->rate.limit, state->rate.period, burst);
}

void
ut_quota_add_headers(StringInfo headers, const UtRateState *state, bool refused, UtAddHeader add)
{
	if (state->rate.limit == 0)
		return;
	add(headers, "RateLimit-Policy", format_policy(state));
	add(headers, "RateLimit", psprintf("\"%s\";r=%d;t=%d", state->policy, state->remaining, state->seconds));
	if (refused)
		add(headers, "Retry-After", psprintf("%d", state->seconds));
}
