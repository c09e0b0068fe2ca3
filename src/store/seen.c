/*-------------------------------------------------------------------------
 *
 * seen.c
 *	  How is the time of the last use written to the table?
 *
 * By a process that is a superuser, at a table that may have triggers, checks
 * and indexes of others: so as the table's owner, who gets no more than he has.
 *
 * Locking: the table ROW EXCLUSIVE; rows in the order of their selectors, one
 * that another has locked is skipped and its note kept.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "store/plan.h"
#include "store/row.h"
#include "store/store.h"
#include "store/trust.h"
#include "text/secret.h"

static Datum
selectors_of(const UtNote *notes, int count)
{
	Datum	   *values = palloc(count * sizeof(Datum));

	for (int i = 0; i < count; i++)
		values[i] = PointerGetDatum(cstring_to_text_with_len(notes[i].selector, UT_SELECTOR_LEN));
	return ut_row_array(values, count, TEXTOID, false);
}

static Datum
times_of(const UtNote *notes, int count)
{
	Datum	   *values = palloc(count * sizeof(Datum));

	for (int i = 0; i < count; i++)
		values[i] = TimestampTzGetDatum(notes[i].at);
	return ut_row_array(values, count, TIMESTAMPTZOID, false);
}

/* Move the notes that were not written behind the others, and return how many. */
static int
move_unwritten(UtNote *notes, int count, uint64 unwritten)
{
	bool	   *is_unwritten = palloc0(count * sizeof(bool));
	UtNote	   *left = palloc(count * sizeof(UtNote));
	int			done = 0;
	int			nleft = 0;

	for (uint64 row = 0; row < unwritten; row++)
		is_unwritten[ut_row_read_count(SPI_tuptable, row) - 1] = true;
	for (int i = 0; i < count; i++)
	{
		if (is_unwritten[i])
			left[nleft++] = notes[i];
		else
			notes[done++] = notes[i];
	}
	memcpy(notes + done, left, nleft * sizeof(UtNote));
	return nleft;
}

/* Is a new secret among those that were used? */
static bool
has_marks(const UtNote *notes, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (notes[i].mark.is_set)
			return true;
	}
	return false;
}

static int
write_notes(UtNote *notes, int count)
{
	Datum		values[] = {selectors_of(notes, count), times_of(notes, count), ut_row_mark_array(notes, count)};
	int			left = 0;
	bool		marked = has_marks(notes, count);

	ut_store_open();
	if (marked)
		ut_store_run(UT_PLAN_ACTIVATE, values, NULL, UT_VIEW_USUAL);

	/*
	 * what was not written is locked by others, or gone, or as new as the
	 * note
	 */
	if (ut_store_run(UT_PLAN_UPDATE_SEEN, values, NULL, UT_VIEW_USUAL) < count || marked)
		left = move_unwritten(notes, count,
							  ut_store_run(marked ? UT_PLAN_FIND_UNSEEN_MARKED : UT_PLAN_FIND_UNSEEN,
										   values, NULL, UT_VIEW_USUAL));
	ut_store_close();
	return count - left;
}

int
ut_store_write_seen(UtNote *notes, int count)
{
	UtOwner		owner;
	int			done;

	ut_store_become_owner("api_token", RowExclusiveLock, &owner);
	done = write_notes(notes, count);
	ut_store_leave_owner(&owner);
	return done;
}
