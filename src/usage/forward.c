/*-------------------------------------------------------------------------
 *
 * forward.c
 *	  How does a standby tell its primary?
 *
 * By libpq, never blocking: whatever the primary does, the worker hears when
 * it is told to stop, and gives up after a while.
 *
 * Knows no table.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "lib/stringinfo.h"
#include "libpq-fe.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/compat.h"
#include "text/datetime.h"
#include "usage/forward.h"
#include "text/secret.h"

#define PATIENCE_MS 10000		/* for one batch, from connect to answer */

/* Wait for the socket; false when the patience has run out. */
static bool
wait_for(PGconn *conn, int events, TimestampTz deadline)
{
	long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
	int			happened;

	if (left <= 0)
		return false;
	happened = WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH | events,
								 PQsocket(conn), left, UT_WAIT_EVENT("UnleashTokensForward"));
	if (happened & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return true;
}

/*
 * The database is that of this worker, whatever conninfo says.  Looking up its
 * name is the last use of the catalogs: the replay shall not have to wait for a
 * snapshot of ours while we wait for the primary.
 */
static PGconn *
begin_connection(const char *conninfo)
{
	const char *keywords[] = {"dbname", "dbname", "application_name", NULL};
	const char *values[] = {conninfo, get_database_name(MyDatabaseId), "unleash_tokens standby", NULL};

	InvalidateCatalogSnapshot();
	return PQconnectStartParams(keywords, values, 1);
}

/* A text without '=' would be taken for the name of a database. */
static bool
is_conninfo(const char *text)
{
	char	   *error = NULL;
	PQconninfoOption *options = PQconninfoParse(text, &error);

	PQconninfoFree(options);
	PQfreemem(error);
	return options != NULL;
}

static bool
finish_connection(PGconn *conn, TimestampTz deadline)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	if (conn == NULL || PQstatus(conn) == CONNECTION_BAD)
		return false;
	while (status != PGRES_POLLING_OK)
	{
		if (status == PGRES_POLLING_FAILED ||
			!wait_for(conn, status == PGRES_POLLING_READING ? WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE,
					  deadline))
			return false;
		status = PQconnectPoll(conn);
	}
	return PQsetnonblocking(conn, 1) == 0;
}

/* The notes as two array literals; selectors and times need no quoting. */
static void
append_notes(StringInfo selectors, StringInfo times, const UtNote *notes, int count)
{
	char		time[UT_DATETIME_LEN + 1];

	for (int i = 0; i < count; i++)
	{
		int64		ms = ut_clock_to_ms(notes[i].at);

		ut_datetime_format(ms, time);
		time[UT_DATETIME_LEN - 1] = '\0';	/* the zone goes behind the
											 * microseconds */
		appendStringInfo(selectors, "%s%.*s", i > 0 ? "," : "{", UT_SELECTOR_LEN, notes[i].selector);
		appendStringInfo(times, "%s%s%03dZ", i > 0 ? "," : "{", time,
						 (int) (notes[i].at - ut_clock_from_ms(ms)));
	}
	appendStringInfoChar(selectors, '}');
	appendStringInfoChar(times, '}');
}

static bool
send_notes(PGconn *conn, const UtNote *notes, int count, TimestampTz deadline)
{
	StringInfoData selectors;
	StringInfoData times;
	const char *values[2];
	int			left;

	initStringInfo(&selectors);
	initStringInfo(&times);
	append_notes(&selectors, &times, notes, count);
	values[0] = selectors.data;
	values[1] = times.data;
	if (!PQsendQueryParams(conn, "SELECT unleash_tokens.note_usage($1::text[], $2::timestamptz[])",
						   2, NULL, values, NULL, NULL, 0))
		return false;
	while ((left = PQflush(conn)) != 0)
	{
		if (left < 0 || !wait_for(conn, WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE, deadline) ||
			!PQconsumeInput(conn))
			return false;
	}
	return true;
}

static bool
read_answer(PGconn *conn, TimestampTz deadline)
{
	bool		ok = false;

	for (;;)
	{
		PGresult   *result;

		while (PQisBusy(conn))
		{
			if (!wait_for(conn, WL_SOCKET_READABLE, deadline) || !PQconsumeInput(conn))
				return false;
		}
		result = PQgetResult(conn);
		if (result == NULL)
			return ok;
		ok = PQresultStatus(result) == PGRES_TUPLES_OK;
		PQclear(result);
	}
}

/* To the view stat and to the log; the notes are kept. */
static void
report_failure(const char *why)
{
	ut_usage_report_error(psprintf("could not send notes to the primary: %s", why));
	ereport(LOG,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("could not send notes of use to the primary: %s", why),
			 errhint("They are kept. Check unleash_tokens.primary_conninfo and the rights of its role.")));
}

int
ut_forward_send(const char *conninfo, const UtNote *notes, int count)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PATIENCE_MS);
	volatile bool ok = false;
	PGconn	   *conn;

	if (!is_conninfo(conninfo))
	{
		report_failure("unleash_tokens.primary_conninfo is not a connection string");
		return 0;
	}
	conn = begin_connection(conninfo);
	PG_TRY();
	{
		ok = finish_connection(conn, deadline) &&
			send_notes(conn, notes, count, deadline) &&
			read_answer(conn, deadline);
		if (!ok)
		{
			char	   *why = pchomp(conn == NULL ? "out of memory" : PQerrorMessage(conn));

			/*
			 * what libpq says of a connection that it still waits for has no
			 * end
			 */
			if (*why == '\0' || GetCurrentTimestamp() >= deadline)
				why = "the primary did not answer in time";
			report_failure(why);
		}
	}
	PG_FINALLY();
	{
		PQfinish(conn);
	}
	PG_END_TRY();
	return ok ? count : 0;
}
