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

/* The first column of all rows found, as an array. */
static Datum
found_texts(uint64 found)
{
	char	  **texts = palloc(Max(found, 1) * sizeof(char *));

	for (uint64 i = 0; i < found; i++)
		texts[i] = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
	return ut_row_text_array(texts, (int) found);
}

int
ut_store_write_seen(UtNote *notes, int count)
{
	Datum		selectors = selectors_of(notes, count);
	Datum		update[3] = {selectors, times_of(notes, count)};
	Datum		others[2] = {selectors};
	bool	   *keep = palloc0(count * sizeof(bool));
	uint64		found;
	int			done = 0;

	ut_store_open();
	found = ut_store_run(UT_PLAN_LOCK_SEEN, &selectors, NULL, UT_VIEW_USUAL);
	update[2] = others[1] = found_texts(found);
	ut_store_run(UT_PLAN_UPDATE_SEEN, update, NULL, UT_VIEW_USUAL);
	found = ut_store_run(UT_PLAN_FIND_OTHERS, others, NULL, UT_VIEW_USUAL);
	for (uint64 i = 0; i < found; i++)
		keep[ut_row_read_count(SPI_tuptable, i) - 1] = true;
	ut_store_close();
	for (int i = 0; i < count; i++)
	{
		if (!keep[i])
			notes[done++] = notes[i];
	}
	return done;
}
