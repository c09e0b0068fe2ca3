/*-------------------------------------------------------------------------
 *
 * row.h
 *	  How do rows of the tables and our structs convert?
 *
 * For the store's own files and the front door.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_STORE_ROW_H
#define UT_STORE_ROW_H

#include "executor/spi.h"
#include "utils/array.h"

#include "base/token.h"

/*
 * The columns of api_token that make a token; in a result the last one is the
 * place of its key.  The table of version 1.0 ends with created_by.
 */
typedef enum UtTokenColumn
{
	UT_COLUMN_SELECTOR = 1,
	UT_COLUMN_VERIFIER,
	UT_COLUMN_NAME,
	UT_COLUMN_TYPE,
	UT_COLUMN_ENVIRONMENT,
	UT_COLUMN_ALL_PROJECTS,
	UT_COLUMN_BY_VERIFIER,
	UT_COLUMN_CREATED_AT,
	UT_COLUMN_EXPIRES_AT,
	UT_COLUMN_SEEN_AT,
	UT_COLUMN_ALIAS,
	UT_COLUMN_CREATED_BY,		/* passed over */
	UT_COLUMN_ROTATABLE,
	UT_COLUMN_NEXT_VERIFIER,
	UT_COLUMN_ACTIVATE_BY,
	UT_COLUMN_GRACE,			/* passed over */
	UT_COLUMN_OLD_UNTIL,
	UT_COLUMN_RATE_LIMIT,
	UT_COLUMN_RATE_PERIOD,
	UT_COLUMN_RATE_BURST,
	UT_COLUMN_ALLOWED_IPS
} UtTokenColumn;

/* To Datums; *null becomes 'n' for NULL and UT_TIME_UNSET. */
extern Datum ut_row_bytea(const uint8 *bytes, size_t len);
extern Datum ut_row_text(const char *text, char *null);
extern Datum ut_row_text_array(char *const *texts, int count);
extern Datum ut_row_bytea_array(const uint8 **bytes, int count, size_t len);
extern Datum ut_row_time(TimestampTz time, char *null);

/* An array of one dimension of any type; (Datum) 0 is NULL where nullable, or what nulls says. */
extern Datum ut_row_nullable_array(Datum *values, bool *nulls, int count, Oid type);
extern Datum ut_row_array(Datum *values, int count, Oid type, bool nullable);

/*
 * Does a token have something for the columns that version 1.0 did not have?
 * Else they are left alone, and tables of 1.0 go on.
 */
extern bool ut_row_is_whole(const UtToken *token);

/* The marks of notes as an array of bytea, and back; NULL or another length is no mark. */
extern Datum ut_row_mark_array(const UtNote *notes, int count);
extern UtMark *ut_row_read_marks(ArrayType *array, int *count);

/* The networks as the text of a cidr array; NULL when there is no list. */
extern char *ut_row_format_sources(const UtSources *sources);

/* A text array as C strings; a NULL element becomes NULL. */
extern char **ut_row_read_texts(ArrayType *array, int *count);

/* A timestamptz array; a NULL element or an infinite one becomes UT_TIME_UNSET. */
extern TimestampTz *ut_row_read_times(ArrayType *array, int *count);

/*
 * A token as selector, token_name, type, projects, environment, expires_at for
 * validate_api_tokens().
 */
extern void ut_row_write_validation(const UtToken *token, Datum *values, bool *nulls);

/* The first column of a result, selectors, in the given context. */
extern char **ut_row_read_selectors(SPITupleTable *table, int count, MemoryContext context);

/* The last column of a row, a bigint that is not NULL. */
extern int64 ut_row_read_count(SPITupleTable *table, uint64 row);

/*
 * A row that begins with the columns above to a token that has no projects yet,
 * in the current context.
 */
extern void ut_row_read_token(TupleTableSlot *row, UtToken *token);

#endif							/* UT_STORE_ROW_H */
