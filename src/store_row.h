/*-------------------------------------------------------------------------
 *
 * store_row.h
 *	  How do rows of the tables and our structs convert?
 *
 * For the store's own files only.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_STORE_ROW_H
#define UT_STORE_ROW_H

#include "executor/spi.h"

#include "token.h"

/* To Datums; *null becomes 'n' for NULL and UT_TIME_UNSET. */
extern Datum ut_row_bytea(const uint8 *bytes, size_t len);
extern Datum ut_row_text(const char *text, char *null);
extern Datum ut_row_text_array(char **texts, int count);
extern Datum ut_row_time(TimestampTz time, char *null);

/* Row of a result with TOKEN_COLUMNS to a token, allocated in context. */
extern void ut_row_read_token(SPITupleTable *table, uint64 row,
							  MemoryContext context, UtToken *token);

#endif							/* UT_STORE_ROW_H */
