/*-------------------------------------------------------------------------
 *
 * notice.c
 *	  Which tokens are about to expire, and were not told of yet?
 *
 * A token has no mark of its own: for each number of days there is one row that
 * says up to which expiry all were told.  It moves in the transaction that
 * writes the events, so that these are there once, whatever happens to the
 * server or whichever takes over.
 *
 * Locking: the row of a number of days, FOR UPDATE, to the end of the
 * transaction.
 *
 * Knows nothing of HTTP and JSON bodies, and not who is told.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "store/notice.h"
#include "store/plan.h"
#include "store/store.h"
#include "store/trust.h"
#include "text/secret.h"

/* Up to where was told: all that expire earlier, and of those at that very time the ones up to the selector. */
typedef struct Mark
{
	TimestampTz up_to;
	char		selector[UT_SELECTOR_LEN + 1];	/* empty: none of them, and a
												 * look ended there */
} Mark;

static Datum
get_value(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

/* Of so many days; false when there is none. */
static bool
read_mark(UtPlan plan, int days, Mark *mark)
{
	Datum		value = Int32GetDatum(days);
	bool		isnull;

	if (ut_store_run(plan, &value, NULL, UT_VIEW_USUAL) == 0)
		return false;
	mark->up_to = DatumGetTimestampTz(get_value(0, 1, &isnull));
	text_to_cstring_buffer(DatumGetTextPP(get_value(0, 2, &isnull)), mark->selector, sizeof(mark->selector));
	return true;
}

/* Was all looked at, and not long ago? */
static bool
is_new(const Mark *mark, TimestampTz before)
{
	return mark->selector[0] == '\0' && mark->up_to > before - UT_NOTICE_STEP;
}

/*
 * Lock the mark, made when there is none, unless nothing is to be done: a
 * worker may come every second, and a lock is a write.
 */
static bool
lock_mark(int days, TimestampTz before, Mark *mark)
{
	Datum		value = Int32GetDatum(days);

	if (read_mark(UT_PLAN_READ_NOTICE, days, mark) && is_new(mark, before))
		return false;
	if (!read_mark(UT_PLAN_LOCK_NOTICE, days, mark))
	{
		/* none when another process makes it at the same time */
		(void) ut_store_run(UT_PLAN_INSERT_NOTICE, &value, NULL, UT_VIEW_USUAL);
		ut_store_expect(read_mark(UT_PLAN_LOCK_NOTICE, days, mark), 1);
	}
	return !is_new(mark, before);
}

static void
move_mark(int days, const Mark *mark)
{
	Datum		values[] = {
		Int32GetDatum(days),
		TimestampTzGetDatum(mark->up_to),
		CStringGetTextDatum(mark->selector)
	};

	ut_store_expect(ut_store_run(UT_PLAN_MOVE_NOTICE, values, NULL, UT_VIEW_USUAL), 1);
}

/* Write the events of the next tokens behind the mark, and hand these over. */
static UtExpiring *
write_events(int days, const Mark *mark, TimestampTz before, int max, MemoryContext context, int *count)
{
	Datum		values[] = {
		Int32GetDatum(days),
		TimestampTzGetDatum(mark->up_to),
		CStringGetTextDatum(mark->selector),
		TimestampTzGetDatum(before),
		Int64GetDatum(max)
	};
	UtExpiring *expiring;
	bool		isnull;
	MemoryContext usual;

	*count = ut_store_run(UT_PLAN_INSERT_NOTICES, values, NULL, UT_VIEW_USUAL);
	usual = MemoryContextSwitchTo(context);
	expiring = palloc(Max(*count, 1) * sizeof(UtExpiring));
	for (int i = 0; i < *count; i++)
	{
		strlcpy(expiring[i].selector, TextDatumGetCString(get_value(i, 1, &isnull)), UT_SELECTOR_LEN + 1);
		expiring[i].name = TextDatumGetCString(get_value(i, 2, &isnull));
		expiring[i].expires_at = DatumGetTimestampTz(get_value(i, 3, &isnull));
		expiring[i].event = DatumGetInt64(get_value(i, 4, &isnull));
		/* a trigger of others swallowed it */
		ut_store_expect(isnull ? 0 : 1, 1);
	}
	MemoryContextSwitchTo(usual);
	return expiring;
}

/* All of a batch may not be all there are: then the mark stands at the last one. */
static void
set_mark(Mark *mark, const UtExpiring *last, TimestampTz before)
{
	mark->up_to = last != NULL ? last->expires_at : before;
	strlcpy(mark->selector, last != NULL ? last->selector : "", sizeof(mark->selector));
}

static UtExpiring *
tell(int days, TimestampTz after, TimestampTz before, int max, MemoryContext context, int *count)
{
	Mark		mark = {0};
	UtExpiring *expiring;

	*count = 0;
	if (!lock_mark(days, before, &mark))
		return NULL;
	if (mark.up_to < after)
		set_mark(&mark, NULL, after);
	expiring = write_events(days, &mark, before, max, context, count);
	set_mark(&mark, *count == max ? &expiring[max - 1] : NULL, before);
	move_mark(days, &mark);
	return expiring;
}

/*
 * Not where another server's events come in, by logical replication: its
 * notices are among them.
 */
bool
ut_store_has_notices(void)
{
	Oid			schema = get_namespace_oid("unleash_tokens", true);
	Datum		events = ObjectIdGetDatum(get_relname_relid("api_token_event", schema));
	bool		has;

	if (!OidIsValid(get_relname_relid("expiry_notice", schema)))
		return false;			/* not updated yet */
	ut_store_open();
	has = ut_store_run(UT_PLAN_FIND_SUBSCRIBED, &events, NULL, UT_VIEW_USUAL) == 0;
	ut_store_close();
	return has;
}

UtExpiring *
ut_store_tell_expiring(int days, TimestampTz after, TimestampTz before, int max, int *count)
{
	MemoryContext context = CurrentMemoryContext;
	UtExpiring *expiring;
	UtOwner		owner;

	ut_store_become_owner("api_token_event", RowExclusiveLock, &owner);
	ut_store_open();
	expiring = tell(days, after, before, max, context, count);
	ut_store_close();
	ut_store_leave_owner(&owner);
	return expiring;
}
