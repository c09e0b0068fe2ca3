/*-------------------------------------------------------------------------
 *
 * forward.c
 *	  How does a standby tell its primary?
 *
 * By libpq, never blocking but for the look-up of a host's name: whatever the
 * primary does, the worker hears when it is told to stop, and gives up after a
 * while.  The message is a call of note_usage(): what a later version adds to it
 * is an argument with a default, so that the shorter message stays one.
 *
 * Locking: none.
 *
 * Knows no table.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
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
#include "text/secret.h"
#include "usage/forward.h"
#include "usage/stat.h"

#define PATIENCE_MS 10000		/* for one batch, from connect to answer */

char	   *ut_primary_conninfo = "";

/* To the primary, once there was something to send; NULL otherwise. */
static PGconn *connection = NULL;

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
 * libpq waits for the resolver where no signal ends it.  One second for each of
 * its servers, unless the administrator has said otherwise.
 */
static void
bound_resolver(void)
{
	(void) setenv("RES_OPTIONS", "timeout:1 attempts:1", 0);
}

/* One of the hosts that conninfo lists; NULL where it says nothing of its own. */
typedef struct Address
{
	char	   *host;
	char	   *hostaddr;
	char	   *port;
} Address;

/*
 * The database is that of this worker, whatever conninfo says.  Looking up its
 * name is the last use of the catalogs: the replay shall not have to wait for a
 * snapshot of ours while we wait for the primary.
 */
static void
begin_connection(const Address *address)
{
	const char *keywords[] = {"dbname", "dbname", "application_name", "host", "hostaddr", "port", NULL};
	const char *values[] = {ut_primary_conninfo, get_database_name(MyDatabaseId), "unleash_tokens standby",
	address->host, address->hostaddr, address->port, NULL};

	InvalidateCatalogSnapshot();
	bound_resolver();
	connection = PQconnectStartParams(keywords, values, 1);
}

/* Into the array at *items, which is as long as the list; 0 when there is none. */
static int
split_list(const PQconninfoOption *option, char ***items)
{
	int			count = 0;
	char	   *rest;

	if (option->val == NULL || *option->val == '\0')
		return 0;
	rest = pstrdup(option->val);
	*items = palloc(sizeof(char *) * (strlen(rest) + 1));
	for (char *item; (item = strsep(&rest, ",")) != NULL;)
		(*items)[count++] = item;
	return count;
}

static char *
pick(char **items, int count, int i)
{
	return count == 0 ? NULL : items[count == 1 ? 0 : i];
}

/*
 * Each host of conninfo by itself: PQconnectPoll() waits for the first one for
 * as long as that is silent, and only PQconnectdb() has a connect_timeout.  Of
 * lists that do not fit each other libpq says so itself.
 */
static int
list_addresses(Address **addresses)
{
	static const char *const names[] = {"host", "hostaddr", "port"};
	char	  **items[lengthof(names)] = {NULL};
	int			counts[lengthof(names)] = {0};
	int			count = 1;
	PQconninfoOption *options = PQconninfoParse(ut_primary_conninfo, NULL);

	for (PQconninfoOption *option = options; option != NULL && option->keyword != NULL; option++)
	{
		for (int i = 0; i < (int) lengthof(names); i++)
		{
			if (strcmp(option->keyword, names[i]) == 0)
				counts[i] = split_list(option, &items[i]);
		}
	}
	PQconninfoFree(options);
	if (counts[0] == counts[1] || counts[0] == 0 || counts[1] == 0)
		count = Max(Max(counts[0], counts[1]), 1);
	if (counts[2] > 1 && counts[2] != count)
		count = 1;
	*addresses = palloc0(sizeof(Address) * count);
	for (int i = 0; count > 1 && i < count; i++)
	{
		(*addresses)[i].host = pick(items[0], counts[0], i);
		(*addresses)[i].hostaddr = pick(items[1], counts[1], i);
		(*addresses)[i].port = pick(items[2], counts[2], i);
	}
	return count;
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

/* The marks of the notes as an array literal; true when there are any. */
static bool
append_marks(StringInfo marks, const UtNote *notes, int count)
{
	bool		any = false;

	for (int i = 0; i < count; i++)
	{
		const uint8 *bytes = notes[i].mark.bytes;

		appendStringInfoString(marks, i > 0 ? "," : "{");
		any |= notes[i].mark.is_set;
		if (notes[i].mark.is_set)
			appendStringInfo(marks, "\"\\\\x%02x%02x%02x%02x\"", bytes[0], bytes[1], bytes[2], bytes[3]);
		else
			appendStringInfoString(marks, "NULL");
	}
	appendStringInfoChar(marks, '}');
	return any;
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
	StringInfoData marks;
	const char *values[3];
	bool		marked;
	int			left;

	initStringInfo(&selectors);
	initStringInfo(&times);
	initStringInfo(&marks);
	append_notes(&selectors, &times, notes, count);
	marked = append_marks(&marks, notes, count);
	values[0] = selectors.data;
	values[1] = times.data;
	values[2] = marks.data;
	if (!PQsendQueryParams(conn, marked ?
						   "SELECT unleash_tokens.note_usage($1::text[], $2::timestamptz[], $3::bytea[])" :
						   "SELECT unleash_tokens.note_usage($1::text[], $2::timestamptz[])",
						   marked ? 3 : 2, NULL, values, NULL, NULL, 0))
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
	ut_stat_report_error(psprintf("could not send notes to the primary: %s", why));
	ereport(LOG,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("could not send notes of use to the primary: %s", why),
			 errhint("They are kept. Check unleash_tokens.primary_conninfo and the rights of its role.")));
}

void
ut_forward_close(void)
{
	PQfinish(connection);
	connection = NULL;
}

static bool
is_connected(TimestampTz deadline)
{
	Address    *addresses;
	int			count;

	if (connection != NULL)
		return true;
	count = list_addresses(&addresses);
	for (int i = 0; i < count; i++)
	{
		TimestampTz now = GetCurrentTimestamp();

		ut_forward_close();
		begin_connection(&addresses[i]);
		if (finish_connection(connection, now + Max(deadline - now, 0) / (count - i)))
			return true;
	}
	return false;
}

static const char *
explain_failure(TimestampTz deadline)
{
	char	   *why = pchomp(connection == NULL ? "out of memory" : PQerrorMessage(connection));

	/* what libpq says of a connection that it still waits for has no end */
	return *why == '\0' || GetCurrentTimestamp() >= deadline ? "the primary did not answer in time" : why;
}

bool
ut_forward_has_nowhere(void)
{
	return RecoveryInProgress() && *ut_primary_conninfo == '\0';
}

int
ut_forward_send(const UtNote *notes, int count)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PATIENCE_MS);

	if (!is_conninfo(ut_primary_conninfo))
	{
		report_failure("unleash_tokens.primary_conninfo is not a connection string");
		return 0;
	}
	if (is_connected(deadline) && send_notes(connection, notes, count, deadline) &&
		read_answer(connection, deadline))
		return count;
	report_failure(explain_failure(deadline));
	ut_forward_close();
	return 0;
}
