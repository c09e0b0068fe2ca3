/*-------------------------------------------------------------------------
 *
 * row.c
 *	  How do rows of the tables and our structs convert?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/socket.h>

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/scope.h"
#include "store/row.h"

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
ut_row_nullable_array(Datum *values, bool *nulls, int count, Oid type)
{
	int			dims[1] = {count};
	int			lbs[1] = {1};
	int16		typlen;
	bool		typbyval;
	char		typalign;

	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	return PointerGetDatum(construct_md_array(values, nulls, 1, dims, lbs, type,
											  typlen, typbyval, typalign));
}

Datum
ut_row_array(Datum *values, int count, Oid type, bool nullable)
{
	bool	   *nulls = palloc(Max(count, 1) * sizeof(bool));

	for (int i = 0; i < count; i++)
		nulls[i] = nullable && values[i] == (Datum) 0;
	return ut_row_nullable_array(values, nulls, count, type);
}

Datum
ut_row_text_array(char *const *texts, int count)
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
get_text(const Datum *values, const bool *nulls, UtTokenColumn column)
{
	return nulls[column - 1] ? NULL : TextDatumGetCString(values[column - 1]);
}

static TimestampTz
get_time(const Datum *values, const bool *nulls, UtTokenColumn column)
{
	return nulls[column - 1] ? UT_TIME_UNSET : DatumGetTimestampTz(values[column - 1]);
}

/* The table's constraints see to the length. */
static void
read_digest(Datum value, uint8 *digest)
{
	memcpy(digest, VARDATA_ANY(DatumGetByteaPP(value)), UT_VERIFIER_LEN);
}

static UtTokenType
parse_type(const text *name)
{
	for (int i = 0; i < UT_TOKEN_TYPES; i++)
	{
		if (VARSIZE_ANY_EXHDR(name) == strlen(ut_token_type_names[i]) &&
			memcmp(VARDATA_ANY(name), ut_token_type_names[i], VARSIZE_ANY_EXHDR(name)) == 0)
			return (UtTokenType) i;
	}
	elog(ERROR, "unknown token type in table unleash_tokens.api_token");
}

Datum
ut_row_mark_array(const UtNote *notes, int count)
{
	Datum	   *values = palloc(Max(count, 1) * sizeof(Datum));

	for (int i = 0; i < count; i++)
		values[i] = notes[i].mark.is_set ? ut_row_bytea(notes[i].mark.bytes, UT_MARK_LEN) : (Datum) 0;
	return ut_row_array(values, count, BYTEAOID, true);
}

UtMark *
ut_row_read_marks(ArrayType *array, int *count)
{
	Datum	   *values;
	bool	   *nulls;
	UtMark	   *marks;

	deconstruct_array(array, BYTEAOID, -1, false, TYPALIGN_INT, &values, &nulls, count);
	marks = palloc0(Max(*count, 1) * sizeof(UtMark));
	for (int i = 0; i < *count; i++)
	{
		bytea	   *bytes = nulls[i] ? NULL : DatumGetByteaPP(values[i]);

		marks[i].is_set = bytes != NULL && VARSIZE_ANY_EXHDR(bytes) == UT_MARK_LEN;
		if (marks[i].is_set)
			memcpy(marks[i].bytes, VARDATA_ANY(bytes), UT_MARK_LEN);
	}
	return marks;
}

/* A bound of a rate; what a dropped constraint let in must not make it wider. */
static int
get_bound(const Datum *values, const bool *nulls, UtTokenColumn column, int most)
{
	return nulls[column - 1] ? 1 : Min(Max(DatumGetInt32(values[column - 1]), 1), most);
}

static UtRate
get_rate(const Datum *values, const bool *nulls)
{
	UtRate		rate = {0};

	if (nulls[UT_COLUMN_RATE_LIMIT - 1])
		return rate;
	rate.limit = get_bound(values, nulls, UT_COLUMN_RATE_LIMIT, UT_RATE_LIMIT_MAX);
	rate.period = get_bound(values, nulls, UT_COLUMN_RATE_PERIOD, UT_RATE_PERIOD_MAX);
	rate.burst = get_bound(values, nulls, UT_COLUMN_RATE_BURST, UT_RATE_BURST_MAX);
	return rate;
}

/* An array of cidr; one that holds nothing is a list all the same. */
static UtSources
read_sources(ArrayType *array)
{
	UtSources	sources = {.listed = true};
	Datum	   *values;
	bool	   *nulls;
	int			count;

	deconstruct_array(array, CIDROID, -1, false, TYPALIGN_INT, &values, &nulls, &count);
	sources.networks = palloc0(Max(count, 1) * sizeof(UtNetwork));
	for (int i = 0; i < count; i++)
	{
		UtNetwork  *network = &sources.networks[sources.count];
		inet	   *value;

		if (nulls[i])
			continue;
		value = DatumGetInetPP(values[i]);
		network->bits = ip_bits(value);
		if (ip_family(value) == PGSQL_AF_INET)
		{
			network->bits += UT_ADDRESS_V4_BITS;
			network->bytes[10] = network->bytes[11] = 0xFF;
			memcpy(network->bytes + 12, ip_addr(value), 4);
		}
		else
			memcpy(network->bytes, ip_addr(value), UT_ADDRESS_LEN);
		sources.count++;
	}
	return sources;
}

char *
ut_row_format_sources(const UtSources *sources)
{
	StringInfoData text;
	char		network[UT_NETWORK_SIZE];

	if (!sources->listed)
		return NULL;
	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	for (int i = 0; i < sources->count; i++)
	{
		ut_address_format_network(&sources->networks[i], network);
		appendStringInfo(&text, "%s%s", i == 0 ? "" : ",", network);
	}
	appendStringInfoChar(&text, '}');
	return text.data;
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
	int			count;
	char	   *const *projects = ut_scope_projects(&token->scope, &count);

	values[0] = CStringGetTextDatum(token->selector);
	values[1] = CStringGetTextDatum(token->name);
	values[2] = CStringGetTextDatum(ut_token_type_names[token->type]);
	values[3] = ut_row_text_array(projects, count);
	values[4] = CStringGetTextDatum(ut_scope_environment(token));
	values[5] = TimestampTzGetDatum(token->expires_at);
	nulls[5] = token->expires_at == UT_TIME_UNSET;
}

char	  **
ut_row_read_selectors(SPITupleTable *table, int count, MemoryContext context)
{
	MemoryContext before = MemoryContextSwitchTo(context);
	char	  **selectors = palloc_extended(Max(count, 1) * sizeof(char *), MCXT_ALLOC_HUGE);

	for (int i = 0; i < count; i++)
	{
		bool		isnull;

		selectors[i] = TextDatumGetCString(SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull));
	}
	MemoryContextSwitchTo(before);
	return selectors;
}

int64
ut_row_read_count(SPITupleTable *table, uint64 row)
{
	bool		isnull;

	return DatumGetInt64(SPI_getbinval(table->vals[row], table->tupdesc,
									   table->tupdesc->natts, &isnull));
}

/* Most tokens have none. */
static void
read_rotation(const Datum *values, const bool *nulls, UtToken *token)
{
	token->is_rotated = !nulls[UT_COLUMN_NEXT_VERIFIER - 1];
	if (token->is_rotated)
		read_digest(values[UT_COLUMN_NEXT_VERIFIER - 1], token->next_verifier);
	token->activate_by = get_time(values, nulls, UT_COLUMN_ACTIVATE_BY);
	token->old_until = get_time(values, nulls, UT_COLUMN_OLD_UNTIL);
}

bool
ut_row_is_whole(const UtToken *token)
{
	return token->rotatable || token->rate.limit != 0 || token->sources.listed;
}

static void
read_what_came_later(const Datum *values, const bool *nulls, UtToken *token)
{
	token->rotatable = DatumGetBool(values[UT_COLUMN_ROTATABLE - 1]);
	read_rotation(values, nulls, token);
	token->rate = get_rate(values, nulls);
	if (!nulls[UT_COLUMN_ALLOWED_IPS - 1])
		token->sources = read_sources(DatumGetArrayTypeP(values[UT_COLUMN_ALLOWED_IPS - 1]));
}

void
ut_row_read_token(TupleTableSlot *row, UtToken *token)
{
	bool		is_whole = row->tts_tupleDescriptor->natts >= UT_COLUMN_ALLOWED_IPS;
	Datum	   *values = row->tts_values;
	bool	   *nulls = row->tts_isnull;

	slot_getsomeattrs(row, is_whole ? UT_COLUMN_ALLOWED_IPS : UT_COLUMN_ALIAS);
	/* as a token of version 1.0 is, whose table has no more columns */
	memset(token, 0, sizeof(UtToken));
	token->activate_by = token->old_until = UT_TIME_UNSET;
	token->selector = get_text(values, nulls, UT_COLUMN_SELECTOR);
	read_digest(values[UT_COLUMN_VERIFIER - 1], token->verifier);
	token->name = get_text(values, nulls, UT_COLUMN_NAME);
	token->type = parse_type(DatumGetTextPP(values[UT_COLUMN_TYPE - 1]));
	token->environment = get_text(values, nulls, UT_COLUMN_ENVIRONMENT);
	token->scope.all = DatumGetBool(values[UT_COLUMN_ALL_PROJECTS - 1]);
	token->created_at = get_time(values, nulls, UT_COLUMN_CREATED_AT);
	token->expires_at = get_time(values, nulls, UT_COLUMN_EXPIRES_AT);
	token->seen_at = get_time(values, nulls, UT_COLUMN_SEEN_AT);
	token->alias = get_text(values, nulls, UT_COLUMN_ALIAS);
	if (is_whole)
		read_what_came_later(values, nulls, token);
}
