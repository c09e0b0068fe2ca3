/*-------------------------------------------------------------------------
 *
 * metrics.c
 *	  What has authd done so far?
 *
 * Numbers only: knows no token and no path, and locks nothing.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>

#include "metrics.h"

#define PREFIX "unleash_tokens_authd_"

/* Milliseconds; the last one has no end. */
static const int bounds[] = {1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000};

#define BOUNDS (sizeof(bounds) / sizeof(bounds[0]))
#define STATUS_MIN 100
#define STATUS_MAX 599

static const struct
{
	const char *name;
	const char *help;
}			counter_names[AD_COUNTERS] = {
	{"calls_total", "Calls of authorize_many()."},
	{"called_requests_total", "Requests in these calls."},
	{"connected_total", "Connections to PostgreSQL that were made."},
	{"lost_total", "Connections to PostgreSQL that ended without being told to."},
	{"queue_full_total", "Requests refused because too many were waiting."},
	{"no_server_total", "Requests refused because no PostgreSQL was there."},
	{"too_late_total", "Requests refused because their time was over."},
	{"failed_total", "Requests that ended in an error of PostgreSQL."}
};

static uint64_t counters[AD_COUNTERS];
static uint64_t answers[STATUS_MAX - STATUS_MIN + 1];
static uint64_t durations[BOUNDS + 1];
static uint64_t total_ms;

void
ad_metrics_add(AdCounter counter, uint64_t count)
{
	counters[counter] += count;
}

void
ad_metrics_count(int status, int64_t milliseconds)
{
	size_t		i = 0;

	if (status >= STATUS_MIN && status <= STATUS_MAX)
		answers[status - STATUS_MIN]++;
	while (i < BOUNDS && milliseconds > bounds[i])
		i++;
	durations[i]++;
	total_ms += milliseconds;
}

static void
write_durations(FILE *out)
{
	uint64_t	count = 0;

	fputs("# HELP " PREFIX "request_seconds From the head of a request to its answer.\n"
		  "# TYPE " PREFIX "request_seconds histogram\n", out);
	for (size_t i = 0; i < BOUNDS; i++)
	{
		count += durations[i];
		fprintf(out, PREFIX "request_seconds_bucket{le=\"%g\"} %" PRIu64 "\n", bounds[i] / 1000.0, count);
	}
	count += durations[BOUNDS];
	fprintf(out, PREFIX "request_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\n"
			PREFIX "request_seconds_sum %.3f\n" PREFIX "request_seconds_count %" PRIu64 "\n",
			count, total_ms / 1000.0, count);
}

static void
write_gauge(FILE *out, const char *name, const char *help, size_t value)
{
	fprintf(out, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s gauge\n" PREFIX "%s %zu\n", name, help, name, name, value);
}

char *
ad_metrics_write(unsigned connections, size_t waiting, bool up)
{
	char	   *text = NULL;
	size_t		len;
	FILE	   *out = open_memstream(&text, &len);

	if (out == NULL)
		return NULL;
	fputs("# HELP " PREFIX "answers_total Answers by their status.\n# TYPE " PREFIX "answers_total counter\n", out);
	for (int i = 0; i <= STATUS_MAX - STATUS_MIN; i++)
	{
		if (answers[i] > 0)
			fprintf(out, PREFIX "answers_total{status=\"%d\"} %" PRIu64 "\n", i + STATUS_MIN, answers[i]);
	}
	for (int i = 0; i < AD_COUNTERS; i++)
		fprintf(out, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s counter\n" PREFIX "%s %" PRIu64 "\n",
				counter_names[i].name, counter_names[i].help, counter_names[i].name, counter_names[i].name, counters[i]);
	write_durations(out);
	write_gauge(out, "connections", "Connections of clients that are open.", connections);
	write_gauge(out, "waiting", "Requests that have no answer yet.", waiting);
	write_gauge(out, "up", "Whether a PostgreSQL is there.", up);
	if (fclose(out) != 0)
		return NULL;
	return text;
}
