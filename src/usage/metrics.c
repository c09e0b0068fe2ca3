/*-------------------------------------------------------------------------
 *
 * metrics.c
 *	  What is a monitoring system told, and in which words?
 *
 * Names and units as Prometheus asks for: base units, _total for what only
 * rises, times as seconds since 1970.  What is not known has no line, rather
 * than a zero.
 *
 * Locking: that of what it reads.
 *
 * Knows no table, and not who asks.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "usage/census.h"
#include "usage/flush.h"
#include "usage/memory.h"
#include "usage/metrics.h"
#include "usage/stat.h"

#define PREFIX "unleash_tokens_"

/* Indexed by UtTokenState, and by UtVerdict: what a refusal is for. */
static const char *const states[UT_STATES] = {"valid", "pending", "grace", "expired"};
static const char *const reasons[UT_VERDICTS] = {
	NULL, "malformed", "unknown", "expired", "scopeless", "elsewhere"
};

/* ---- The format ---- */

static void
describe(StringInfo out, const char *name, const char *type, const char *help)
{
	appendStringInfo(out, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, help, name, type);
}

static void
append_number(StringInfo out, const char *name, const char *type, const char *help, int64 value)
{
	describe(out, name, type, help);
	appendStringInfo(out, PREFIX "%s " INT64_FORMAT "\n", name, value);
}

/* Another line of a metric that was described, with a label. */
static void
append_labelled(StringInfo out, const char *name, const char *label, const char *value, int64 number)
{
	appendStringInfo(out, PREFIX "%s{%s=\"%s\"} " INT64_FORMAT "\n", name, label, value, number);
}

static void
append_seconds(StringInfo out, const char *name, const char *help, int64 microseconds)
{
	describe(out, name, "gauge", help);
	appendStringInfo(out, PREFIX "%s %.6f\n", name, Max(microseconds, 0) / 1e6);
}

/* Nothing for a time that is not set. */
static void
append_time(StringInfo out, const char *name, const char *help, TimestampTz time)
{
	if (time == UT_TIME_UNSET || time == 0)
		return;
	describe(out, name, "gauge", help);
	appendStringInfo(out, PREFIX "%s %.3f\n", name, ut_clock_to_ms(time) / 1e3);
}

/* ---- The server ---- */

static void
append_build(StringInfo out)
{
	describe(out, "build_info", "gauge", "Which versions run; the value is always 1.");
	/* without what the packager has put behind it */
	appendStringInfo(out, PREFIX "build_info{version=\"%s\",postgresql=\"%.*s\"} 1\n",
					 UT_VERSION, (int) strcspn(PG_VERSION, " "), PG_VERSION);
	append_number(out, "in_recovery", "gauge", "1 on a standby, else 0.", RecoveryInProgress());
	append_number(out, "preloaded", "gauge", "1 with the library in shared_preload_libraries; else 0, and nothing is counted.",
				  ut_memory != NULL);
}

static void
append_validations(StringInfo out, const UtUsageStat *stat)
{
	append_number(out, "validations_total", "counter", "Secrets found valid on this server, since the start or stat_reset().",
				  stat->verdicts[UT_VERDICT_VALID]);
	describe(out, "refusals_total", "counter", "Secrets refused on this server, by reason, since the start or stat_reset().");
	for (int i = UT_VERDICT_VALID + 1; i < UT_VERDICTS; i++)
		append_labelled(out, "refusals_total", "reason", reasons[i], stat->verdicts[i]);
	append_labelled(out, "refusals_total", "reason", "rate", stat->rate_refused);
	append_labelled(out, "refusals_total", "reason", "uncounted", stat->rate_uncounted);
}

/*
 * For how long notes have waited: since the first one came after there was none,
 * or since all of this database were written.
 */
static int64
notes_lag(const UtUsageStat *stat, const UtCensus *census, TimestampTz now)
{
	TimestampTz since = (TimestampTz) pg_atomic_read_u64(&ut_memory->held_since);

	return stat->held == 0 ? 0 : now - Max(since, census->written);
}

static void
append_notes(StringInfo out, const UtUsageStat *stat, const UtCensus *census, TimestampTz now)
{
	append_number(out, "notes_held", "gauge", "Notes of use that wait to be written, or on a standby to be sent.", stat->held);
	append_number(out, "notes_capacity", "gauge", "Notes of use that there is room for.", ut_memory_capacity());
	append_number(out, "notes_dropped_total", "counter", "Notes of use lost since the start or stat_reset().", stat->dropped);
	append_seconds(out, "notes_lag_seconds", "For how long notes of use have waited to be written, or on a standby to be sent.",
				   notes_lag(stat, census, now));
	append_number(out, "flushes_total", "counter", "Batches of notes written or sent since the start or stat_reset().", stat->flushes);
	append_time(out, "last_flush_timestamp_seconds", "When the last batch was written or sent.", stat->last_flush);
	append_time(out, "last_error_timestamp_seconds", "When something last kept a worker from its work: see the view stat.", stat->last_error_at);
	append_time(out, "stats_reset_timestamp_seconds", "Since when is counted.", stat->reset_at);
}

static void
append_workers(StringInfo out, const UtUsageStat *stat, TimestampTz now)
{
	int			running;
	int			failing;
	bool		launcher;

	ut_flush_count_runs(&running, &failing);
	SpinLockAcquire(&ut_memory->mutex);
	launcher = ut_memory->launcher != NULL;
	SpinLockRelease(&ut_memory->mutex);
	append_number(out, "launcher_up", "gauge", "1 while the launcher of the workers runs, else 0.", launcher);
	append_number(out, "workers", "gauge", "Workers that run now; one comes when there is something to do.", running);
	append_number(out, "failing_databases", "gauge", "Databases whose last worker failed.", failing);
	append_seconds(out, "worker_slot_wait_seconds", "For how long databases have waited for a free worker slot.",
				   stat->waits_since == UT_TIME_UNSET ? 0 : now - stat->waits_since);
}

/* ---- The database ---- */

static void
append_tokens(StringInfo out, const UtCensus *census, TimestampTz now)
{
	if (census->tokens_counted.at == 0)
		return;
	describe(out, "tokens", "gauge", "Tokens of this database by type and state.");
	for (int type = 0; type < UT_TOKEN_TYPES; type++)
	{
		for (int state = 0; state < UT_STATES; state++)
			appendStringInfo(out, PREFIX "tokens{type=\"%s\",state=\"%s\"} " INT64_FORMAT "\n",
							 ut_token_type_names[type], states[state], census->tokens.tokens[type][state]);
	}
	describe(out, "tokens_expiring", "gauge", "Tokens of this database that expire within so many days.");
	for (int i = 0; i < UT_HORIZONS; i++)
		append_labelled(out, "tokens_expiring", "days", psprintf("%d", ut_count_days[i]), census->tokens.expiring[i]);
	append_seconds(out, "tokens_age_seconds", "How old these numbers of tokens are.", now - census->tokens_counted.at);
	append_seconds(out, "tokens_count_duration_seconds", "How long it took to count the tokens.", census->tokens_counted.took);
}

static void
append_checks(StringInfo out, const UtCensus *census, TimestampTz now)
{
	if (census->checks_counted.at == 0)
		return;
	describe(out, "doctor_checks", "gauge", "Checks of doctor() in this database by what they say.");
	for (int i = 0; i < UT_CHECK_STATUSES; i++)
		append_labelled(out, "doctor_checks", "status", ut_count_status_names[i], census->checks.checks[i]);
	append_seconds(out, "doctor_age_seconds", "How old these numbers of checks are.", now - census->checks_counted.at);
	append_seconds(out, "doctor_duration_seconds", "How long doctor() took.", census->checks_counted.took);
}

void
ut_metrics_append(StringInfo out)
{
	TimestampTz now = GetCurrentTimestamp();
	UtUsageStat stat;
	UtCensus	census;

	append_build(out);
	if (!ut_stat_read(&stat))
	{
		appendStringInfoString(out, "# unleash_tokens is not in shared_preload_libraries: nothing else is counted.\n");
		return;
	}
	ut_census_ask(&census);
	append_validations(out, &stat);
	append_notes(out, &stat, &census, now);
	append_workers(out, &stat, now);
	append_tokens(out, &census, now);
	append_checks(out, &census, now);
}
