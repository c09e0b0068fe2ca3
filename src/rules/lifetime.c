/*-------------------------------------------------------------------------
 *
 * rules/lifetime.c
 *	  How long may a token live?
 *
 * A bound that is set or lowered touches no token by itself: what is there
 * keeps its expiry until somebody says so, having seen the list.
 *
 * Knows no SQL text and nothing of HTTP.
 *
 * Locking: tokens that are changed are locked FOR UPDATE in the order of their
 * selectors, a batch at a time.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "rules/lifetime.h"
#include "rules/service.h"
#include "store/store.h"
#include "text/datetime.h"
#include "text/secret.h"

int			ut_max_lifetime = 0;

/* The calendar ends before the sum can. */
static TimestampTz
latest_expiry(const UtToken *token)
{
	return Min(token->created_at + ut_max_lifetime * USECS_PER_SEC,
			   ut_clock_from_ms(UT_DATETIME_MAX));
}

bool
ut_lifetime_apply(UtToken *token, UtProblem *problem)
{
	TimestampTz latest = latest_expiry(token);
	char		shown[UT_DATETIME_LEN + 1];

	if (ut_max_lifetime == 0)
		return true;
	if (token->expires_at == UT_TIME_UNSET)
		token->expires_at = latest;
	if (token->expires_at <= latest)
		return true;
	ut_datetime_format(ut_clock_to_ms(latest), shown);
	return ut_problem_set(problem, UT_PROBLEM_LIFETIME, "/body/expiresAt",
						  "This token may live until %s at the latest.", shown);
}

/* One batch, of the selectors behind *after, which is moved on; false at the end. */
static bool
enforce_batch(char *after, bool dry_run, const UtActor *actor,
			  UtLifetimeVisitor visitor, void *arg)
{
	int			count;
	UtToken    *tokens = ut_store_find_longer(ut_max_lifetime, after, !dry_run, &count);

	for (int i = 0; i < count; i++)
	{
		TimestampTz latest = latest_expiry(&tokens[i]);
		UtToken		changed = tokens[i];

		CHECK_FOR_INTERRUPTS();
		changed.expires_at = latest;
		if (!dry_run)
			ut_service_change(&tokens[i], &changed, actor);
		visitor(&tokens[i], latest, arg);
		strlcpy(after, tokens[i].selector, UT_SELECTOR_LEN + 1);
	}
	return count > 0;
}

void
ut_lifetime_enforce(bool dry_run, const UtActor *actor, UtLifetimeVisitor visitor, void *arg)
{
	MemoryContext batch;
	MemoryContext before;
	char		after[UT_SELECTOR_LEN + 1] = "";
	bool		more = true;

	if (ut_max_lifetime == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no bound to the lifetime of tokens"),
				 errhint("Set unleash_tokens.max_lifetime, such as to 90d.")));
	batch = AllocSetContextCreate(CurrentMemoryContext, "unleash_tokens lifetime", ALLOCSET_DEFAULT_SIZES);
	while (more)
	{
		before = MemoryContextSwitchTo(batch);
		more = enforce_batch(after, dry_run, actor, visitor, arg);
		MemoryContextSwitchTo(before);
		MemoryContextReset(batch);
	}
	MemoryContextDelete(batch);
}
