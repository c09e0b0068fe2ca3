/*-------------------------------------------------------------------------
 *
 * store_seen.c
 *	  How is the time of the last use written to the table?
 *
 * Locking: rows in the order of their selectors; one that another has locked
 * is skipped and its note kept.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "secret.h"
#include "store.h"
#include "store_plan.h"
#include "store_row.h"

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

/*
 * Move the notes whose selectors were found to the front and return how many;
 * notes and rows are both in the order of their selectors, and stay so.
 */
static int
move_found(UtNote *notes, int count, uint64 found)
{
	UtNote	   *others = palloc(count * sizeof(UtNote));
	int			nothers = 0;
	int			done = 0;
	uint64		row = 0;

	for (int i = 0; i < count; i++)
	{
		if (row < found &&
			memcmp(notes[i].selector, SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1),
				   UT_SELECTOR_LEN) == 0)
		{
			notes[done++] = notes[i];
			row++;
		}
		else
			others[nothers++] = notes[i];
	}
	memcpy(notes + done, others, nothers * sizeof(UtNote));
	return done;
}

int
ut_store_write_seen(UtNote *notes, int count)
{
	Datum		selectors = selectors_of(notes, count);
	int			locked;
	int			left;
	Datum		update[2];

	ut_store_open();
	locked = move_found(notes, count, ut_store_run(UT_PLAN_LOCK_SEEN, &selectors, NULL, UT_VIEW_USUAL));
	update[0] = selectors_of(notes, locked);
	update[1] = times_of(notes, locked);
	ut_store_run(UT_PLAN_UPDATE_SEEN, update, NULL, UT_VIEW_USUAL);
	left = count - locked;
	if (left > 0)
	{
		UtNote	   *others = notes + locked;
		UtNote	   *gone = palloc(left * sizeof(UtNote));
		int			kept;

		/* those that are there are locked by others; the rest is gone */
		selectors = selectors_of(others, left);
		kept = move_found(others, left, ut_store_run(UT_PLAN_FIND_SEEN, &selectors, NULL, UT_VIEW_USUAL));
		memcpy(gone, others + kept, (left - kept) * sizeof(UtNote));
		memmove(others + left - kept, others, kept * sizeof(UtNote));
		memcpy(others, gone, (left - kept) * sizeof(UtNote));
		left = kept;
	}
	ut_store_close();
	return count - left;
}
