/*-------------------------------------------------------------------------
 *
 * purge.c
 *	  What is old enough to go?
 *
 * An age is turned into a time here, before any statement runs: a negative one
 * would take what is still in use, and the server's own complaint about one
 * that is too large would quote the statement.
 *
 * Knows no SQL text and nothing of HTTP.  Takes no locks of its own.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "rules/purge.h"
#include "rules/service.h"
#include "store/store.h"

/* The time that lies so long ago. */
static TimestampTz
compute_time(const Interval *age)
{
	TimestampTz time;

	if (!ut_clock_move(GetCurrentTimestamp(), age, true, &time))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("older_than must be between 0 and %d years", UT_CLOCK_MAX_YEARS),
				 errdetail("It is %s.", DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(age)))),
				 errhint("Give an age such as '90 days'.")));
	return time;
}

int64
ut_purge_expired(const Interval *age, const UtActor *actor)
{
	int			count;
	UtToken    *tokens = ut_store_lock_expired(compute_time(age), &count);

	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		ut_service_remove(&tokens[i], actor);
	}
	return count;
}

int64
ut_purge_events(const Interval *age)
{
	return ut_store_delete_events(compute_time(age));
}
