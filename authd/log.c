/*-------------------------------------------------------------------------
 *
 * log.c
 *	  What is said to the operator?
 *
 * Knows nothing else, and locks nothing.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "log.h"

void
ad_log(const char *format,...)
{
	char		line[1024];
	va_list		arguments;
	size_t		len;

	va_start(arguments, format);
	(void) vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	len = strlen(line);
	while (len > 0 && line[len - 1] == '\n')
		line[--len] = '\0';
	fprintf(stderr, "unleash-tokens-authd: %s\n", line);
}

char *
ad_format(size_t *len, const char *format,...)
{
	char	   *text;
	va_list		arguments;
	int			count;

	va_start(arguments, format);
	count = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (len != NULL)
		*len = count < 0 ? 0 : (size_t) count;
	return count < 0 ? NULL : text;
}
