/*-------------------------------------------------------------------------
 *
 * field.c
 *	  How is a body read, and how one of its fields?
 *
 * Knows no rule of a particular request, no table and nothing of HTTP.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "port/pg_bitutils.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/resowner.h"

#include "base/clock.h"
#include "base/encoding.h"
#include "text/datetime.h"
#include "rules/field.h"
#include "text/secret.h"

#define SHOWN 60				/* bytes of a sent value that are shown again */

/*
 * Which refusal fits an error of the server's own JSON reader?  None for what
 * is not about the bytes: that goes on as it came.
 */
static bool
judge_error(int sqlstate, UtProblemId *id)
{
	switch (sqlstate)
	{
		case ERRCODE_UNTRANSLATABLE_CHARACTER:
		case ERRCODE_CHARACTER_NOT_IN_REPERTOIRE:
		case ERRCODE_FEATURE_NOT_SUPPORTED: /* \u00E9 where the encoding is
											 * SQL_ASCII */
			*id = UT_PROBLEM_JSON_CHARACTER;
			return true;
		case ERRCODE_STATEMENT_TOO_COMPLEX:
		case ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE:
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
			*id = UT_PROBLEM_JSON_LIMIT;
			return true;
		default:
			*id = UT_PROBLEM_JSON_SYNTAX;
			return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_DATA_EXCEPTION;
	}
}

/*
 * The server's JSON reader raises; a subtransaction turns that into a value.
 * What it says is not passed on, because it quotes the body.
 */
bool
ut_field_read_json(const char *bytes, int len, int encoding, Jsonb **body,
				   UtProblem *problem)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool ok = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		char	   *text = pg_any_to_server(pnstrdup(bytes, len), len, encoding);

		*body = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
												   CStringGetDatum(len == 0 ? "{}" : text)));
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;
		UtProblemId id;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (!judge_error(error->sqlerrcode, &id))
			PG_RE_THROW();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		FreeErrorData(error);
		ok = ut_problem_set(problem, id, "/body", "The %d bytes sent were not stored.", len);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return ok;
}

bool
ut_field_object(Jsonb *body, UtProblem *problem)
{
	if (body != NULL && JB_ROOT_IS_OBJECT(body))
		return true;
	return ut_problem_set(problem, UT_PROBLEM_BODY_NOT_OBJECT, "/body",
						  "You sent %s.",
						  body == NULL ? "nothing" :
						  JB_ROOT_IS_SCALAR(body) ? "a single value" : "an array");
}

JsonbValue *
ut_field_find(Jsonb *body, const char *key)
{
	return getKeyJsonValueFromContainer(&body->root, key, strlen(key), NULL);
}

bool
ut_field_is_array(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
}

char *
ut_field_get_string(Jsonb *body, const char *key)
{
	JsonbValue *value = JB_ROOT_IS_OBJECT(body) ? ut_field_find(body, key) : NULL;

	if (value == NULL || value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

bool
ut_field_string(Jsonb *body, const char *key, const char *path, char **text,
				UtProblem *problem)
{
	JsonbValue *value = ut_field_find(body, key);

	*text = NULL;
	if (value == NULL)
		return true;
	if (value->type != jbvString)
		return ut_problem_set(problem, UT_PROBLEM_FIELD_TYPE, path,
							  "The field %s must be a string. You sent %s.",
							  key, ut_field_show_value(value));
	*text = pnstrdup(value->val.string.val, value->val.string.len);
	return true;
}

bool
ut_field_boolean(Jsonb *body, const char *key, const char *path, bool *value,
				 UtProblem *problem)
{
	JsonbValue *found = ut_field_find(body, key);

	*value = found != NULL && found->type == jbvBool && found->val.boolean;
	if (found == NULL || found->type == jbvBool)
		return true;
	return ut_problem_set(problem, UT_PROBLEM_FIELD_TYPE, path,
						  "The field %s must be true or false. You sent %s.",
						  key, ut_field_show_value(found));
}

bool
ut_field_whole(const JsonbValue *value, int64 most, int64 *number)
{
	char	   *digits;
	char	   *end;

	if (value->type != jbvNumeric)
		return false;
	digits = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	if (*digits < '0' || *digits > '9')
		return false;
	errno = 0;
	*number = strtoi64(digits, &end, 10);
	return errno == 0 && *end == '\0' && *number <= most;
}

bool
ut_field_time(Jsonb *body, const char *key, const char *path,
			  TimestampTz *time, UtProblem *problem)
{
	JsonbValue *value = ut_field_find(body, key);
	int64		ms;

	*time = UT_TIME_UNSET;
	if (value == NULL || value->type == jbvNull)
		return true;
	if (value->type != jbvString)
		return ut_problem_set(problem, UT_PROBLEM_FIELD_TYPE, path,
							  "The field %s must be a string or null. You sent %s.",
							  key, ut_field_show_value(value));
	if (!ut_datetime_parse(value->val.string.val, value->val.string.len, &ms))
		return ut_problem_set(problem, UT_PROBLEM_EXPIRY, path,
							  "The field %s must be an RFC 3339 date-time. You sent %s.",
							  key, ut_field_show_value(value));
	*time = ut_clock_from_ms(ms);
	return true;
}

bool
ut_field_missing(UtProblem *problem, const char *key, const char *path)
{
	return ut_problem_set(problem, UT_PROBLEM_FIELD_REQUIRED, path,
						  "The field %s is required and was not sent.", key);
}

/* Of which kind is a character that secrets are made of?  0 if of none. */
static int
key_char_kind(char c)
{
	if (c >= '0' && c <= '9')
		return 1;
	if (c >= 'A' && c <= 'Z')
		return 2;
	if (c >= 'a' && c <= 'z')
		return 4;
	return c == '-' || c == '_' ? 8 : 0;
}

/*
 * How much of a text may be shown: what stands before anything that could be
 * the key of a secret, whole or in part, wherever it stands and whatever is
 * around it.  That is a run of 32 characters such as secrets are made of behind
 * a dot, as in <scope>:<environment>.<hexadecimal digits>, or of 40 with two
 * kinds of digits, capitals and small letters: ids such as a UUID are shorter.
 */
static int
public_len(const char *text, int len)
{
	int			start = 0;
	int			kinds = 0;

	for (int i = 0; i <= len; i++)
	{
		int			kind = i < len ? key_char_kind(text[i]) : 0;

		kinds |= kind;
		if (kind != 0)
			continue;
		if ((start > 0 && text[start - 1] == '.' && i - start >= 32) ||
			(pg_popcount32(kinds & 7) >= 2 && i - start >= 40))
			return start;
		start = i + 1;
		kinds = 0;
	}
	return len;
}

const char *
ut_field_show(const char *text, int len)
{
	StringInfoData shown;
	const char *selector;
	char		mask[UT_SECRET_MAX + 8];
	UtSecretKind kind = ut_secret_parse(text, len, &selector);
	int			open;
	char	   *start;
	int			clipped;

	if (kind == UT_SECRET_REFUSED && len > 0 && len <= UT_SECRET_MAX)
		return "a mistyped secret";
	/* What is parsed as a scope may be another secret. */
	open = public_len(text, selector != NULL ? selector - text : len);
	if (selector != NULL && open == selector - text)
	{
		len = ut_secret_mask(mask, sizeof(mask), text, len);
		text = mask;
	}
	else if (open < len)
	{
		text = psprintf("%.*s***", open, text);

		len = strlen(text);
	}
	clipped = pg_mbcliplen(text, len, SHOWN);
	start = pnstrdup(text, clipped);
	initStringInfo(&shown);
	escape_json(&shown, start);
	if (clipped < len)
		appendStringInfo(&shown, " (cut, %d bytes in all)", len);
	return shown.data;
}

const char *
ut_field_find_control(const char *name)
{
	const unsigned char *byte;
	size_t		len;

	byte = (unsigned char *) ut_encoding_to_utf8(name, strlen(name), &len);
	if (byte == NULL || !pg_verify_mbstr(PG_UTF8, (const char *) byte, len, true))
		return "";
	for (; *byte != '\0'; byte++)
	{
		if (*byte < 0x20 || *byte == 0x7F)
			return psprintf("U+%04X", *byte);
		if (*byte == 0xC2 && byte[1] >= 0x80 && byte[1] <= 0x9F)
			return psprintf("U+%04X", byte[1]);
	}
	return NULL;
}

const char *
ut_field_show_value(const JsonbValue *value)
{
	char	   *number;

	switch (value->type)
	{
		case jbvNull:
			return "null";
		case jbvString:
			return ut_field_show(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			number = DatumGetCString(DirectFunctionCall1(numeric_out,
														 NumericGetDatum(value->val.numeric)));
			return strlen(number) <= SHOWN ? number : "a long number";
		case jbvBool:
			return value->val.boolean ? "true" : "false";
		case jbvBinary:
			return JsonContainerIsArray(value->val.binary.data) ? "an array" : "an object";
		default:
			return "another type";
	}
}
