/*-------------------------------------------------------------------------
 *
 * encoding.c
 *	  How does text get from the server's encoding to UTF-8 and back?
 *
 * Knows no token.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "mb/pg_wchar.h"

#include "base/encoding.h"

static bool
is_ascii(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		if (IS_HIGHBIT_SET(text[i]))
			return false;
	}
	return true;
}

/*
 * The server has no conversion between UTF-8 and MULE_INTERNAL, nor any that
 * somebody dropped: then what is more than ASCII has no other form.
 */
static char *
convert(const char *text, size_t len, int from, int to)
{
	Oid			conversion = FindDefaultConversionProc(from, to);
	size_t		size = len * MAX_CONVERSION_GROWTH + 1;
	char	   *out;
	int			converted;

	if (!OidIsValid(conversion))
		return is_ascii(text, len) ? pnstrdup(text, len) : NULL;
	out = palloc(size);
	converted = pg_do_encoding_conversion_buf(conversion, from, to,
											  (unsigned char *) unconstify(char *, text), len,
											  (unsigned char *) out, size, true);
	return converted == (int) len ? out : NULL;
}

static bool
is_utf8_or_bytes(int encoding)
{
	return encoding == PG_UTF8 || encoding == PG_SQL_ASCII;
}

char *
ut_encoding_to_utf8(const char *text, size_t len, size_t *utf8_len)
{
	char	   *utf8;

	*utf8_len = len;
	if (is_utf8_or_bytes(GetDatabaseEncoding()))
		return unconstify(char *, text);
	utf8 = convert(text, len, GetDatabaseEncoding(), PG_UTF8);
	if (utf8 != NULL)
		*utf8_len = strlen(utf8);
	return utf8;
}

char *
ut_encoding_from_utf8(const char *utf8, size_t len)
{
	if (!pg_verify_mbstr(PG_UTF8, utf8, len, true))
		return NULL;
	if (is_utf8_or_bytes(GetDatabaseEncoding()))
		return pnstrdup(utf8, len);
	return convert(utf8, len, PG_UTF8, GetDatabaseEncoding());
}
