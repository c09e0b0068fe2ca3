/*-------------------------------------------------------------------------
 *
 * wire.c
 *	  How are the texts of HTTP taken apart?
 *
 * Knows the grammar of headers and request targets and nothing else: no
 * endpoint, no token, no answer.  Everything here comes from strangers, so
 * what the grammar does not allow is refused instead of guessed at.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "text/wire.h"

#define VALUE_MAX 8				/* more than the longest name of UTF-8 */

/* The part of a text that is not read yet. */
typedef struct Cursor
{
	const char *at;				/* next character */
	const char *end;			/* behind the last one */
} Cursor;

/* A parameter's value without its quotes; only the beginning is kept. */
typedef struct Value
{
	char		chars[VALUE_MAX];	/* its first characters */
	size_t		len;			/* its true length */
} Value;

static bool take_parameter(Cursor *in, bool *utf8);
static bool is_utf8_name(const Value *value);
static bool take_value(Cursor *in, Value *value);
static bool take_quoted(Cursor *in, Value *value);
static size_t token_len(const Cursor *in);
static bool is_token_char(char c);
static bool is_quotable(char c);
static void append(Value *value, char c);
static bool take_char(Cursor *in, char c);
static void skip_blanks(Cursor *in);
static bool equals_caseless(const char *text, size_t len, const char *word);
static char lower(char c);
static int	hex_value(char c);
static bool is_parameter(const char *text, size_t len,
						 const char *name, size_t name_len);

UtMedia
ut_wire_media(const char *text, size_t len)
{
	static const char json[] = "application/json";
	const size_t json_len = sizeof(json) - 1;
	Cursor		in;
	bool		utf8 = true;

	if (len == 0)
		return UT_MEDIA_OTHER;	/* text may be a null pointer */
	in.at = text;

	in.end = &text[len];

	skip_blanks(&in);
	if ((size_t) (in.end - in.at) < json_len ||
		!equals_caseless(in.at, json_len, json))
		return UT_MEDIA_OTHER;
	in.at += json_len;

	/* Whatever makes the subtype longer fails here: it is not a ';'. */
	skip_blanks(&in);
	while (in.at < in.end)
	{
		if (!take_parameter(&in, &utf8))
			return UT_MEDIA_OTHER;
	}
	return utf8 ? UT_MEDIA_JSON : UT_MEDIA_CHARSET;
}

/*
 * ";" and perhaps name=value behind it, with the blanks around: RFC 9110
 * section 5.6.6 allows an empty parameter, so a stray ';' does no harm.
 */
static bool
take_parameter(Cursor *in, bool *utf8)
{
	const char *name;
	size_t		name_len;
	Value		value = {{0}, 0};

	if (!take_char(in, ';'))
		return false;
	skip_blanks(in);
	if (in->at == in->end || *in->at == ';')
		return true;

	name = in->at;
	name_len = token_len(in);
	in->at += name_len;
	if (name_len == 0 || !take_char(in, '=') || !take_value(in, &value))
		return false;
	skip_blanks(in);

	if (equals_caseless(name, name_len, "charset"))
		*utf8 = is_utf8_name(&value);
	return true;
}

static bool
is_utf8_name(const Value *value)
{
	return value->len <= VALUE_MAX &&
		(equals_caseless(value->chars, value->len, "utf-8") ||
		 equals_caseless(value->chars, value->len, "utf8"));
}

/* A value is a token or a quoted string; a token has a character at least. */
static bool
take_value(Cursor *in, Value *value)
{
	size_t		left = token_len(in);

	if (left == 0)
		return take_quoted(in, value);
	while (left-- > 0)
		append(value, *in->at++);
	return true;
}

/* A backslash takes the next character as it stands (section 5.6.4). */
static bool
take_quoted(Cursor *in, Value *value)
{
	if (!take_char(in, '"'))
		return false;
	while (!take_char(in, '"'))
	{
		(void) take_char(in, '\\');
		if (in->at == in->end || !is_quotable(*in->at))
			return false;
		append(value, *in->at++);
	}
	return true;
}

static size_t
token_len(const Cursor *in)
{
	const char *at = in->at;

	while (at < in->end && is_token_char(*at))
		at++;
	return (size_t) (at - in->at);
}

/* tchar of RFC 9110 section 5.6.2; strchr() would find the NUL as well. */
static bool
is_token_char(char c)
{
	char		low = lower(c);

	return (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') ||
		(c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* What may stand between quotes: all but control characters; a tab may. */
static bool
is_quotable(char c)
{
	unsigned char byte = (unsigned char) c;

	return byte == '\t' || (byte >= ' ' && byte != 0x7F);
}

static void
append(Value *value, char c)
{
	if (value->len < VALUE_MAX)
		value->chars[value->len] = c;
	value->len++;
}

static bool
take_char(Cursor *in, char c)
{
	if (in->at == in->end || *in->at != c)
		return false;
	in->at++;
	return true;
}

static void
skip_blanks(Cursor *in)
{
	while (in->at < in->end && (*in->at == ' ' || *in->at == '\t'))
		in->at++;
}

/* word is lower case. */
static bool
equals_caseless(const char *text, size_t len, const char *word)
{
	size_t		i;

	for (i = 0; i < len; i++)
	{
		if (word[i] == '\0' || lower(text[i]) != word[i])
			return false;
	}
	return word[len] == '\0';
}

/* ASCII only: a locale must not make a letter out of anything else. */
static char
lower(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (char) (c - 'A' + 'a');
	return c;
}

bool
ut_wire_is_identity(const char *text, size_t len)
{
	Cursor		in;
	size_t		name_len;

	if (len == 0)
		return true;
	in.at = text;

	in.end = &text[len];

	skip_blanks(&in);
	name_len = token_len(&in);
	if (name_len > 0 && !equals_caseless(in.at, name_len, "identity"))
		return false;
	in.at += name_len;
	skip_blanks(&in);
	return in.at == in.end;
}

bool
ut_wire_unescape(const char *text, size_t len, char *out, size_t *outlen)
{
	size_t		written = 0;
	size_t		i = 0;

	/* Reading stays ahead of writing, so that out may be text itself. */
	while (i < len)
	{
		char		c = text[i++];

		if (c == '%')
		{
			int			high = len - i >= 2 ? hex_value(text[i]) : -1;
			int			low = high >= 0 ? hex_value(text[i + 1]) : -1;

			if (low < 0)
				return false;
			c = (char) (unsigned char) (high * 16 + low);
			i += 2;
		}
		if (c == '\0')
			return false;		/* a plain one too: out is a C string */
		out[written++] = c;
	}
	out[written] = '\0';
	*outlen = written;
	return true;
}

static int
hex_value(char c)
{
	char		low = lower(c);

	if (c >= '0' && c <= '9')
		return c - '0';
	if (low >= 'a' && low <= 'f')
		return low - 'a' + 10;
	return -1;
}

size_t
ut_wire_path_len(const char *target, size_t len)
{
	size_t		i = 0;

	while (i < len && target[i] != '?' && target[i] != '#')
		i++;
	return i;
}

const char *
ut_wire_query(const char *query, size_t len, const char *name,
			  size_t *valuelen)
{
	size_t		name_len = strlen(name);
	size_t		start = 0;

	while (start < len)
	{
		size_t		end = start;

		while (end < len && query[end] != '&')
			end++;
		if (is_parameter(query + start, end - start, name, name_len))
		{
			*valuelen = end - start - name_len - 1;
			return query + start + name_len + 1;
		}
		start = end + 1;
	}
	return NULL;
}

/* Does parameter begin with name and '='? */
static bool
is_parameter(const char *parameter, size_t len, const char *name, size_t name_len)
{
	return len > name_len && memcmp(parameter, name, name_len) == 0 &&
		parameter[name_len] == '=';
}
