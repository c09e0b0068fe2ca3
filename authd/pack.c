/*-------------------------------------------------------------------------
 *
 * pack.c
 *	  How do requests become the parameters of one call?
 *
 * Plain C.  Knows neither HTTP library nor connections, and locks nothing.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "pack.h"

/* The type bytea, as every PostgreSQL numbers it. */
#define BYTEA_OID 17

/* Dimensions, whether NULLs are in it, type of the elements, their number, the first subscript. */
#define HEAD_WORDS 5

static void
add_word(AdBuffer *buffer, uint32_t word)
{
	word = htonl(word);
	memcpy(buffer->data + buffer->len, &word, sizeof(word));
	buffer->len += sizeof(word);
}

/* What is in it has been wiped, so it need not be copied. */
static bool
make_room(AdBuffer *buffer, size_t needed)
{
	if (buffer->room >= needed)
		return true;
	free(buffer->data);
	buffer->data = malloc(needed * 2);
	buffer->room = buffer->data == NULL ? 0 : needed * 2;
	return buffer->data != NULL;
}

bool
ad_pack_field(AdBuffer *buffer, AdRequest *const *requests, int count, AdField field)
{
	size_t		needed = (HEAD_WORDS + count) * sizeof(uint32_t);

	for (int i = 0; i < count; i++)
		needed += requests[i]->fields[field].len;
	if (!make_room(buffer, needed))
		return false;
	buffer->len = 0;
	add_word(buffer, 1);
	add_word(buffer, 1);
	add_word(buffer, BYTEA_OID);
	add_word(buffer, count);
	add_word(buffer, 1);
	for (int i = 0; i < count; i++)
	{
		const AdText *text = &requests[i]->fields[field];

		add_word(buffer, text->data == NULL ? UINT32_MAX : (uint32_t) text->len);
		if (text->data == NULL)
			continue;
		memcpy(buffer->data + buffer->len, text->data, text->len);
		buffer->len += text->len;
	}
	return true;
}

void
ad_pack_wipe(AdBuffer *buffer)
{
	if (buffer->data != NULL)
		explicit_bzero(buffer->data, buffer->len);
	buffer->len = 0;
}
