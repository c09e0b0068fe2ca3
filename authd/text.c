/*-------------------------------------------------------------------------
 *
 * text.c
 *	  What of a request's text may go to the database?
 *
 * Plain C that allocates nothing: it is fuzzed alone.  Knows neither HTTP
 * library nor database, and locks nothing.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>
#include <strings.h>

#include "text.h"

#define BEARER "bearer"
#define BEARER_LEN (sizeof(BEARER) - 1)

/* A key that no token has. */
#define NO_KEY "-"

static bool
is_blank(char byte)
{
	return byte == ' ' || byte == '\t';
}

/* Bytes of the character of UTF-8 at this place, 0 for what is none (RFC 3629 section 4). */
static size_t
character_len(const unsigned char *at, size_t left)
{
	size_t		len = *at < 0xC2 ? 0 : *at < 0xE0 ? 2 : *at < 0xF0 ? 3 : *at < 0xF5 ? 4 : 0;

	if (len == 0 || len > left)
		return 0;
	for (size_t i = 1; i < len; i++)
	{
		if ((at[i] & 0xC0) != 0x80)
			return 0;
	}
	/* overlong forms, surrogates, and what is beyond U+10FFFF */
	if ((at[0] == 0xE0 && at[1] < 0xA0) || (at[0] == 0xED && at[1] > 0x9F) ||
		(at[0] == 0xF0 && at[1] < 0x90) || (at[0] == 0xF4 && at[1] > 0x8F))
		return 0;
	return len;
}

static bool
is_clean(const char *text, size_t len, bool blanks)
{
	const unsigned char *at = (const unsigned char *) text;
	const unsigned char *end = at + len;

	while (at < end)
	{
		size_t		step = 1;

		if (*at >= 0x80)
			step = character_len(at, end - at);
		else if (*at == 0x7F || (*at <= ' ' && !(blanks && is_blank((char) *at))))
			step = 0;
		if (step == 0)
			return false;
		at += step;
	}
	return true;
}

bool
ad_text_is_clean(const char *text, size_t len)
{
	return is_clean(text, len, true);
}

bool
ad_text_is_target(const char *text, size_t len)
{
	return len > 0 && is_clean(text, len, false);
}

/* RFC 9112, section 3.2.2: a server takes it, whoever is named there. */
const char *
ad_text_origin(const char *target)
{
	size_t		scheme = strspn(target, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
	const char *host;
	const char *path;

	if (scheme == 0 || strncmp(target + scheme, "://", strlen("://")) != 0)
		return target;
	host = target + scheme + strlen("://");
	path = host + strcspn(host, "/?#@");
	return path > host && *path == '/' ? path : target;
}

/* The word, and then a blank or the end? */
static bool
begins_with_bearer(const char *text, size_t len)
{
	return len >= BEARER_LEN && strncasecmp(text, BEARER, BEARER_LEN) == 0 &&
		(len == BEARER_LEN || is_blank(text[BEARER_LEN]));
}

const char *
ad_text_key(const char *text, size_t len, size_t *keylen)
{
	*keylen = len;
	if (ad_text_is_clean(text, len))
	{
		if (!begins_with_bearer(text, len))
			return text;
		text	  +=BEARER_LEN;

		len -= BEARER_LEN;
		while (len > 0 && is_blank(*text))
		{
			text	  ++;

			len--;
		}
		*keylen = len;
		if (len > 0 && !begins_with_bearer(text, len))
			return text;
	}
	*keylen = sizeof(NO_KEY) - 1;
	return NO_KEY;
}
