/*-------------------------------------------------------------------------
 *
 * query.c
 *	  Which parameters are in the query of a request?
 *
 * What cannot be meant is refused and not passed over: a mistyped word must not
 * let more pass, or show more.  Knows no endpoint.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/encoding.h"
#include "http/query.h"
#include "text/wire.h"

/* The place of a name in the list, or count. */
static int
find_name(const char *name, size_t len, const char *const *names, int count)
{
	int			i = 0;

	while (i < count && (len != strlen(names[i]) || memcmp(name, names[i], len) != 0))
		i++;
	return i;
}

/* Percent-decoding may give any bytes: only text of our encoding goes on. */
static char *
decode(const char *text, size_t len)
{
	char	   *bytes = palloc(len + 1);
	size_t		decoded;

	return ut_wire_unescape(text, len, bytes, &decoded) ? ut_encoding_from_utf8(bytes, decoded) : NULL;
}

bool
ut_query_read(const char *target, UtProblemId refusal, const char *const *names, int count,
			  int last, char **values, UtProblem *problem)
{
	const char *query = target + ut_wire_path_len(target, strlen(target));

	if (*query == '?')
		query++;
	while (*query != '\0')
	{
		size_t		name_len = strcspn(query, "=&");
		size_t		len = strcspn(query, "&");
		int			i = find_name(query, name_len, names, count);

		if (i == count || values[i] != NULL || query[name_len] != '=')
			return ut_problem_set(problem, refusal, NULL,
								  "The query holds something else, or the same twice.");
		if (i == last)
			return true;
		values[i] = decode(query + name_len + 1, len - name_len - 1);
		if (values[i] == NULL)
			return ut_problem_set(problem, refusal, NULL,
								  "The query parameter %s cannot be decoded.", names[i]);
		query += len;
		if (*query == '&')
			query++;
	}
	return true;
}
