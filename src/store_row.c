/*-------------------------------------------------------------------------
 *
 * store_row.c
 *	  How do rows of the tables and our structs convert?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "store_row.h"
#include "usage.h"

/* The columns as store_plan.c lists them. */
enum TokenColumn
{
	COLUMN_SELECTOR = 1,
	COLUMN_VERIFIER,
	COLUMN_NAME,
	COLUMN_TYPE,
	COLUMN_ENVIRONMENT,
	COLUMN_ALL_PROJECTS,
	COLUMN_PROJECTS,
	COLUMN_CREATED_AT,
	COLUMN_EXPIRES_AT,
	COLUMN_SEEN_AT,
	COLUMN_ALIAS
};

Datum
ut_row_bytea(const uint8 *bytes, size_t len)
{
	bytea	   *value = palloc(VARHDRSZ + len);

	SET_VARSIZE(value, VARHDRSZ + len);
	memcpy(VARDATA(value), bytes, len);
	return PointerGetDatum(value);
}

Datum
ut_row_text(const char *text, char *null)
{
	*null = text == NULL ? 'n' : ' ';
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

Datum
ut_row_array(Datum *values, int count, Oid type, bool nullable)
{
	int			dims[1] = {count};
	int			lbs[1] = {1};
	bool	   *nulls = palloc(Max(count, 1) * sizeof(bool));
	int16		typlen;
	bool		typbyval;
	char		typalign;

	for (int i = 0; i < count; i++)
		nulls[i] = nullable && values[i] == (Datum) 0;
	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	return PointerGetDatum(construct_md_array(values, nulls, 1, dims, lbs, type,
											  typlen, typbyval, typalign));
}

Datum
ut_row_text_array(char **texts, int count)
{
	Datum	   *values = palloc(Max(count, 1) * sizeof(Datum));

	for (int i = 0; i < count; i++)
		values[i] = texts[i] == NULL ? (Datum) 0 : CStringGetTextDatum(texts[i]);
	return ut_row_array(values, count, TEXTOID, true);
}

Datum
ut_row_bytea_array(const uint8 **bytes, int count, size_t len)
{
	Datum	   *values = palloc(Max(count, 1) * sizeof(Datum));

	for (int i = 0; i < count; i++)
		values[i] = bytes[i] == NULL ? (Datum) 0 : ut_row_bytea(bytes[i], len);
	return ut_row_array(values, count, BYTEAOID, true);
}

Datum
ut_row_time(TimestampTz time, char *null)
{
	*null = time == UT_TIME_UNSET ? 'n' : ' ';
	return TimestampTzGetDatum(time);
}

/* A column as text in the current context; NULL for NULL. */
static char *
get_text(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static TimestampTz
get_time(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	return isnull ? UT_TIME_UNSET : DatumGetTimestampTz(value);
}

static UtTokenType
get_type(HeapTuple row, TupleDesc desc)
{
	char	   *name = get_text(row, desc, COLUMN_TYPE);

	for (int i = 0; name != NULL && i < UT_TOKEN_TYPES; i++)
	{
		if (strcmp(name, ut_token_type_names[i]) == 0)
			return (UtTokenType) i;
	}
	elog(ERROR, "unknown token type in table unleash_tokens.api_token");
}

/* All projects only where the row says so; NULL and {} are none. */
static void
get_scope(HeapTuple row, TupleDesc desc, UtScope *scope)
{
	bool		isnull;
	Datum		value;
	Datum	   *ids;

	memset(scope, 0, sizeof(UtScope));
	scope->all = DatumGetBool(SPI_getbinval(row, desc, COLUMN_ALL_PROJECTS, &isnull));
	value = SPI_getbinval(row, desc, COLUMN_PROJECTS, &isnull);
	if (scope->all || isnull)
		return;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT,
					  &ids, NULL, &scope->count);
	scope->ids = palloc(Max(scope->count, 1) * sizeof(char *));
	for (int i = 0; i < scope->count; i++)
		scope->ids[i] = TextDatumGetCString(ids[i]);
}

char	  **
ut_row_read_texts(ArrayType *array, int *count)
{
	Datum	   *values;
	bool	   *nulls;
	char	  **texts;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, count);
	texts = palloc(Max(*count, 1) * sizeof(char *));
	for (int i = 0; i < *count; i++)
		texts[i] = nulls[i] ? NULL : TextDatumGetCString(values[i]);
	return texts;
}

TimestampTz *
ut_row_read_times(ArrayType *array, int *count)
{
	Datum	   *values;
	bool	   *nulls;
	TimestampTz *times;

	deconstruct_array(array, TIMESTAMPTZOID, sizeof(TimestampTz), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &values, &nulls, count);
	times = palloc(Max(*count, 1) * sizeof(TimestampTz));
	for (int i = 0; i < *count; i++)
	{
		times[i] = nulls[i] ? UT_TIME_UNSET : DatumGetTimestampTz(values[i]);
		if (TIMESTAMP_NOT_FINITE(times[i]))
			times[i] = UT_TIME_UNSET;
	}
	return times;
}

void
ut_row_write_validation(const UtToken *token, Datum *values, bool *nulls)
{
	static char *all[] = {"*"};

	values[0] = CStringGetTextDatum(token->selector);
	values[1] = CStringGetTextDatum(token->name);
	values[2] = CStringGetTextDatum(ut_token_type_names[token->type]);
	values[3] = token->scope.all ? ut_row_text_array(all, 1) :
		ut_row_text_array(token->scope.ids, token->scope.count);
	values[4] = CStringGetTextDatum(token->environment == NULL ? "*" : token->environment);
	values[5] = TimestampTzGetDatum(token->expires_at);
	nulls[5] = token->expires_at == UT_TIME_UNSET;
}

int64
ut_row_read_count(SPITupleTable *table, uint64 row)
{
	bool		isnull;

	return DatumGetInt64(SPI_getbinval(table->vals[row], table->tupdesc,
									   table->tupdesc->natts, &isnull));
}

void
ut_row_read_token(SPITupleTable *table, uint64 row, MemoryContext context, UtToken *token)
{
	MemoryContext before = MemoryContextSwitchTo(context);
	HeapTuple	tuple = table->vals[row];
	TupleDesc	desc = table->tupdesc;
	bool		isnull;
	bytea	   *verifier;

	token->selector = get_text(tuple, desc, COLUMN_SELECTOR);
	verifier = DatumGetByteaPP(SPI_getbinval(tuple, desc, COLUMN_VERIFIER, &isnull));
	memcpy(token->verifier, VARDATA_ANY(verifier), UT_VERIFIER_LEN);
	token->name = get_text(tuple, desc, COLUMN_NAME);
	token->type = get_type(tuple, desc);
	token->environment = get_text(tuple, desc, COLUMN_ENVIRONMENT);
	get_scope(tuple, desc, &token->scope);
	token->created_at = get_time(tuple, desc, COLUMN_CREATED_AT);
	token->expires_at = get_time(tuple, desc, COLUMN_EXPIRES_AT);
	token->seen_at = get_time(tuple, desc, COLUMN_SEEN_AT);
	token->alias = get_text(tuple, desc, COLUMN_ALIAS);
	ut_usage_overlay(token);
	MemoryContextSwitchTo(before);
}
