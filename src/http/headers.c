/*-------------------------------------------------------------------------
 *
 * headers.c
 *	  What stands in the headers of a request, and what may stay there?
 *
 * PostgREST hands them over as JSON in a setting, in front of every request.
 * The server's parser is asked directly and nothing is thrown when it is no
 * JSON, so no subtransaction is needed, and no jsonb is built.
 *
 * Knows no header by its name.  Locking: none.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/jsonapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/json.h"

#include "base/compat.h"
#include "http/headers.h"
#include "http/postgrest.h"

/* A member of the object, its value as it was written too. */
typedef struct Field
{
	char	   *name;
	char	   *text;			/* NULL: the value is no text */
	const char *raw;
	int			raw_len;
} Field;

struct UtHeaders
{
	JsonLexContext *lex;
	bool		is_object;
	int			count;
	int			room;
	Field	   *fields;
};

static UT_JSON_ACTION
start_object(void *state)
{
	UtHeaders  *headers = state;

	if (headers->lex->lex_level == 0)
		headers->is_object = true;
	UT_JSON_DONE;
}

static UT_JSON_ACTION
start_field(void *state, char *name, bool isnull)
{
	UtHeaders  *headers = state;

	if (headers->is_object && headers->lex->lex_level == 1)
	{
		if (headers->count == headers->room)
			headers->fields = repalloc(headers->fields, (headers->room *= 2) * sizeof(Field));
		headers->fields[headers->count++] = (Field)
		{
			.name = name,.raw = headers->lex->token_start
		};
	}
	UT_JSON_DONE;
}

static UT_JSON_ACTION
end_field(void *state, char *name, bool isnull)
{
	UtHeaders  *headers = state;

	if (headers->is_object && headers->lex->lex_level == 1)
	{
		Field	   *field = &headers->fields[headers->count - 1];

		field->raw_len = headers->lex->prev_token_terminator - field->raw;
	}
	UT_JSON_DONE;
}

static UT_JSON_ACTION
take_scalar(void *state, char *token, JsonTokenType type)
{
	UtHeaders  *headers = state;

	if (headers->is_object && headers->lex->lex_level == 1 && type == JSON_TOKEN_STRING)
		headers->fields[headers->count - 1].text = token;
	UT_JSON_DONE;
}

UtHeaders *
ut_headers_read(UtProblem *problem)
{
	const char *setting = ut_postgrest_get("request.headers");
	UtHeaders  *headers = palloc0(sizeof(UtHeaders));
	JsonSemAction actions = {
		.semstate = headers,
		.object_start = start_object,
		.object_field_start = start_field,
		.object_field_end = end_field,
		.scalar = take_scalar
	};

	headers->room = 16;
	headers->fields = palloc(headers->room * sizeof(Field));
	if (setting != NULL)
		headers->lex = UT_JSON_LEX(pstrdup(setting), strlen(setting), GetDatabaseEncoding());
	if (setting != NULL && pg_parse_json(headers->lex, &actions) == JSON_SUCCESS && headers->is_object)
		return headers;
	(void) ut_problem_set(problem, UT_PROBLEM_BAD_REQUEST, NULL,
						  "The setting request.headers holds no headers.");
	return NULL;
}

/* Of several with one name the last counts, as in jsonb. */
char *
ut_headers_get(const UtHeaders *headers, const char *name)
{
	for (int i = headers->count - 1; i >= 0; i--)
	{
		if (strcmp(headers->fields[i].name, name) == 0)
			return headers->fields[i].text;
	}
	return NULL;
}

static bool
is_among(const char *name, List *names)
{
	ListCell   *cell;

	foreach(cell, names)
	{
		if (strcmp(name, lfirst(cell)) == 0)
			return true;
	}
	return false;
}

void
ut_headers_blank(const UtHeaders *headers, List *names)
{
	StringInfoData kept;

	initStringInfo(&kept);
	for (int i = 0; i < headers->count; i++)
	{
		const Field *field = &headers->fields[i];

		if (is_among(field->name, names))
			continue;
		appendStringInfoChar(&kept, kept.len == 0 ? '{' : ',');
		escape_json(&kept, field->name);
		appendStringInfoChar(&kept, ':');
		appendBinaryStringInfo(&kept, field->raw, field->raw_len);
	}
	appendStringInfoString(&kept, kept.len == 0 ? "{}" : "}");
	ut_postgrest_set("request.headers", kept.data);
}
