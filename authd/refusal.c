/*-------------------------------------------------------------------------
 *
 * refusal.c
 *	  What does authd say of itself, without the database?
 *
 * Knows neither HTTP library nor database, and locks nothing.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "log.h"
#include "refusal.h"

typedef struct Words
{
	int			status;
	const char *name;
	const char *message;
	const char *detail;
	const char *header;
} Words;

static const Words words[] = {
	{413, "PayloadTooLargeError", "The request body is too large.", NULL, ""},
	{503, "UnavailableError", "The service is not available.", "Try again shortly.", "Retry-After: 1\n"},
	{400, "BadDataError", "The request cannot be understood.",
	"It breaks a rule of HTTP, its first line or a header is too long, or its path is not UTF-8.", ""}
};

/* As nginx names a request: 16 random bytes in groups of hexadecimal digits. */
static void
make_id(char *id)
{
	static const int groups[] = {4, 6, 8, 10};
	static const char digits[] = "0123456789abcdef";
	unsigned char bytes[16] = {0};

	if (getrandom(bytes, sizeof(bytes), GRND_NONBLOCK) != sizeof(bytes))
		memset(bytes, 0, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
	{
		for (size_t j = 0; j < sizeof(groups) / sizeof(groups[0]); j++)
		{
			if ((int) i == groups[j])
				*id++ = '-';
		}
		*id++ = digits[bytes[i] >> 4];
		*id++ = digits[bytes[i] & 15];
	}
	*id = '\0';
}

void
ad_refusal_set(AdReply *reply, int status, size_t limit)
{
	const Words *said = words;
	char		id[37];
	char		most[100];

	while (said->status != status && said->status != 400)
		said++;
	make_id(id);
	snprintf(most, sizeof(most), "Send at most %zu bytes%s.", limit,
			 limit > 102400 ? ": ask for the secrets in several calls" : "");
	reply->status = said->status;
	reply->headers.data = ad_format(&reply->headers.len, "Content-Type: application/json; charset=utf-8\nCache-Control: no-store\n%s"
									"X-Refusal: {\"id\":\"%s\",\"name\":\"%s\",\"message\":\"%s\",\"details\":[{\"message\":\"%s\"}]}\n",
									said->header, id, said->name, said->message, said->detail == NULL ? most : said->detail);
}
