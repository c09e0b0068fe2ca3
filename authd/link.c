/*-------------------------------------------------------------------------
 *
 * link.c
 *	  How is one connection to PostgreSQL made, used and lost?
 *
 * libpq without waiting: connecting, preparing the statement, sending and
 * reading each go on when epoll says so.
 *
 * Knows no HTTP.  Of the server's errors only the SQLSTATE is logged, since
 * their texts may quote what was sent.  Locking: none, there is one thread.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "clock.h"
#include "link.h"
#include "log.h"
#include "metrics.h"
#include "refusal.h"

#define STATEMENT "authorize"
#define CALL "SELECT status, headers, body FROM unleash_tokens.authorize_many($1, $2, $3, $4, $5, $6, $7)"

/* bytea[], as every PostgreSQL numbers it */
#define BYTEA_ARRAY_OID 1001

/* SQLSTATE of a server, or process of it, that is told to end, and of one where another process has crashed */
#define ADMIN_SHUTDOWN "57P01"
#define CRASH_SHUTDOWN "57P02"

/* Milliseconds before the next attempt: the first, and at most. */
#define RETRY_FIRST 50
#define RETRY_MOST 2000

static int	epoll_fd;
static const AdLinkOwner *owner;

void
ad_link_init(int epoll, const AdLinkOwner *its_owner)
{
	epoll_fd = epoll;
	owner = its_owner;
}

/* The descriptor may change while connecting, to another of the same number too. */
static void
watch(AdLink *link, uint32_t events)
{
	int			fd = PQsocket(link->connection);
	struct epoll_event event = {.events = events,.data.ptr = link};

	if (fd == link->fd && events == link->events && link->state > AD_LINK_CONNECTING)
		return;
	if (fd != link->fd && link->fd >= 0)
		(void) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, link->fd, NULL);
	if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event) != 0 && errno == ENOENT)
		(void) epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
	link->fd = fd;
	link->events = events;
}

void
ad_link_close(AdLink *link)
{
	if (link->fd >= 0)
		(void) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, link->fd, NULL);
	if (link->connection != NULL)
		PQfinish(link->connection);
	link->connection = NULL;
	link->fd = -1;
	link->events = 0;
	link->state = AD_LINK_DOWN;
	link->stale = false;
	link->retry_at = 0;
}

/* Each time twice as long, and between half and all of that, so that many do not come at once. */
static int64_t
next_delay(unsigned failures)
{
	int64_t		delay = failures > 7 ? RETRY_MOST : (int64_t) RETRY_FIRST << failures;

	if (delay > RETRY_MOST)
		delay = RETRY_MOST;
	return delay / 2 + random() % (delay / 2 + 1);
}

void
ad_link_lose(AdLink *link, const char *why)
{
	bool		was_up = link->state >= AD_LINK_IDLE;
	bool		hung = link->until <= ad_clock_now();
	int			count = link->count;

	ad_log("lost PostgreSQL: %s", why);
	if (was_up)
		ad_metrics_add(AD_LOST, 1);
	ad_link_close(link);
	link->retry_at = ad_clock_now() + (was_up ? random() % RETRY_FIRST : next_delay(link->failures));
	link->failures++;
	link->place = was_up || (link->place == 0 && !hung) ? 0 : link->place + 1;
	link->count = 0;
	for (int i = 0; i < count; i++)
	{
		if (link->batch[i] != NULL)
			owner->lost(link->batch[i], link->ended);
	}
	link->ended = false;
}

/* Send what libpq still holds. */
static void
flush(AdLink *link)
{
	int			left = PQflush(link->connection);

	if (left < 0)
		ad_link_lose(link, "it does not read");
	else
		watch(link, left > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

bool
ad_link_check(const char *database, char **problem)
{
	char	   *why = NULL;
	PQconninfoOption *options = PQconninfoParse(database, &why);

	*problem = NULL;
	if (options == NULL)
		*problem = ad_format(NULL, "database: %s", why == NULL ? "no memory" : why);
	PQfreemem(why);
	PQconninfoFree(options);
	return options != NULL;
}

static bool
is_list(const PQconninfoOption *option)
{
	return option->val != NULL &&
		(strcmp(option->keyword, "host") == 0 || strcmp(option->keyword, "hostaddr") == 0 || strcmp(option->keyword, "port") == 0);
}

static unsigned
count_entries(const char *list)
{
	unsigned	count = 1;

	for (; *list != '\0'; list++)
		count += *list == ',';
	return count;
}

static unsigned
count_hosts(const PQconninfoOption *options)
{
	unsigned	most = 1;

	for (; options != NULL && options->keyword != NULL; options++)
	{
		if (is_list(options) && count_entries(options->val) > most)
			most = count_entries(options->val);
	}
	return most;
}

/* Leave one entry, in its place; a port that is said once is for all hosts. */
static void
keep_entry(char *list, unsigned which)
{
	char	   *at = list;
	size_t		len;

	if (count_entries(list) == 1)
		return;
	for (; which > 0; which--)
		at = strchr(at, ',') + 1;
	len = strcspn(at, ",");
	memmove(list, at, len);
	list[len] = '\0';
}

#define OPTIONS 64

/*
 * libpq goes through the list, and stays at a host that accepts and says nothing;
 * with some target_session_attrs it wants to hear from all before it takes one.
 * So after such an attempt they are tried one at a time, the second one first.
 */
static PGconn *
start_connecting(AdLink *link, const char *database)
{
	PQconninfoOption *options = PQconninfoParse(database, NULL);
	const char *names[OPTIONS + 3];
	const char *values[OPTIONS + 3];
	unsigned	hosts = count_hosts(options);
	int			count = 0;
	PGconn	   *connection;

	if (link->place > hosts)
		link->place = 0;
	for (PQconninfoOption *option = options; option != NULL && option->keyword != NULL && count < OPTIONS; option++)
	{
		if (option->val == NULL)
			continue;
		if (link->place > 0 && is_list(option))
			keep_entry(option->val, link->place % hosts);
		names[count] = option->keyword;
		values[count++] = option->val;
	}
	names[count] = "client_encoding";
	values[count++] = "UTF8";
	names[count] = "fallback_application_name";
	values[count++] = "unleash_tokens_authd";
	names[count] = values[count] = NULL;
	connection = PQconnectStartParams(names, values, 0);
	PQconninfoFree(options);
	return connection;
}

void
ad_link_open(AdLink *link, const char *database, int64_t until)
{
	link->connection = start_connecting(link, database);
	link->fd = -1;
	link->until = until;
	link->state = AD_LINK_CONNECTING;
	if (link->connection == NULL || PQstatus(link->connection) == CONNECTION_BAD)
		ad_link_lose(link, "cannot begin to connect");
	else
		watch(link, EPOLLOUT);
}

static void
go_on_connecting(AdLink *link)
{
	const Oid	types[AD_FIELDS] = {BYTEA_ARRAY_OID, BYTEA_ARRAY_OID, BYTEA_ARRAY_OID, BYTEA_ARRAY_OID,
	BYTEA_ARRAY_OID, BYTEA_ARRAY_OID, BYTEA_ARRAY_OID};

	switch (PQconnectPoll(link->connection))
	{
		case PGRES_POLLING_READING:
			watch(link, EPOLLIN);
			return;
		case PGRES_POLLING_WRITING:
			watch(link, EPOLLOUT);
			return;
		case PGRES_POLLING_OK:
			break;
		default:
			ad_log("%s", PQerrorMessage(link->connection));
			ad_link_lose(link, "cannot connect");
			return;
	}
	watch(link, EPOLLIN);
	if (PQsetnonblocking(link->connection, 1) != 0 ||
		!PQsendPrepare(link->connection, STATEMENT, CALL, AD_FIELDS, types))
	{
		ad_link_lose(link, "cannot prepare the call");
		return;
	}
	link->state = AD_LINK_PREPARING;
	flush(link);
}

void
ad_link_send(AdLink *link, int64_t until)
{
	const char *values[AD_FIELDS];
	int			lengths[AD_FIELDS];
	int			formats[AD_FIELDS];
	int			sent = 1;

	link->until = until;
	link->state = AD_LINK_BUSY;
	for (int i = 0; i < AD_FIELDS; i++)
	{
		sent = sent && ad_pack_field(&link->arrays[i], link->batch, link->count, i);
		values[i] = link->arrays[i].data;
		lengths[i] = (int) link->arrays[i].len;
		formats[i] = 1;
	}
	sent = sent && PQsendQueryPrepared(link->connection, STATEMENT, AD_FIELDS, values, lengths, formats, 1);
	for (int i = 0; i < AD_FIELDS; i++)
		ad_pack_wipe(&link->arrays[i]);
	ad_metrics_add(AD_BATCHES, 1);
	ad_metrics_add(AD_BATCHED, link->count);
	if (sent)
		flush(link);
	else
		ad_link_lose(link, "cannot send");
}

/* ---- Results ---- */

/* Secrets are in an answer of /edge/validate: libpq would free them as they are. */
static bool
copy_field(const PGresult *result, int row, int column, AdText *to)
{
	to->len = PQgetlength(result, row, column);
	to->data = malloc(to->len + 1);
	if (to->data == NULL)
		return false;
	memcpy(to->data, PQgetvalue(result, row, column), to->len);
	explicit_bzero(PQgetvalue(result, row, column), to->len);
	to->data[to->len] = '\0';
	return true;
}

static void
read_row(const PGresult *result, int row, AdReply *reply)
{
	uint32_t	status;

	if (PQgetisnull(result, row, 0) || PQgetlength(result, row, 0) != sizeof(status) ||
		!copy_field(result, row, 1, &reply->headers) || !copy_field(result, row, 2, &reply->body))
	{
		ad_metrics_add(AD_FAILED, 1);
		free(reply->headers.data);
		ad_refusal_set(reply, 503, 0);
		return;
	}
	memcpy(&status, PQgetvalue(result, row, 0), sizeof(status));
	reply->status = (int) ntohl(status);
}

static void
read_rows(AdLink *link, const PGresult *result)
{
	bool		is_good = result != NULL && PQresultStatus(result) == PGRES_TUPLES_OK &&
		PQntuples(result) == link->count && PQnfields(result) == 3;
	int			count = link->count;

	link->count = 0;
	for (int i = 0; i < count; i++)
	{
		AdRequest  *request = link->batch[i];

		if (request == NULL)
			continue;
		if (is_good)
			read_row(result, i, &request->reply);
		else
		{
			ad_metrics_add(AD_FAILED, 1);
			ad_refusal_set(&request->reply, 503, 0);
		}
		owner->answered(request);
	}
}

/* The statement is there, or the call has been answered. */
static void
take_result(AdLink *link, const PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	if (PQresultStatus(result) == PGRES_FATAL_ERROR)
		ad_log("PostgreSQL refused with SQLSTATE %s", state == NULL ? "(none)" : state);
	/* it is about to close the connection, and has answered nothing */
	if (state != NULL && strcmp(state, ADMIN_SHUTDOWN) == 0)
		link->ended = true;
	else if (link->state == AD_LINK_BUSY && !(state != NULL && strcmp(state, CRASH_SHUTDOWN) == 0))
		read_rows(link, result);
	else if (PQresultStatus(result) == PGRES_COMMAND_OK)
	{
		link->failures = 0;
		ad_metrics_add(AD_CONNECTED, 1);
	}
}

static void
read_results(AdLink *link)
{
	bool		failed = false;
	PGresult   *result;

	while (!PQisBusy(link->connection))
	{
		result = PQgetResult(link->connection);
		if (result == NULL)
		{
			/* one that has another definition by now must be prepared again */
			if (failed || PQstatus(link->connection) == CONNECTION_BAD)
				ad_link_lose(link, "it refused the call");
			else
				link->state = AD_LINK_IDLE;
			return;
		}
		failed = failed || PQresultStatus(result) == PGRES_FATAL_ERROR;
		take_result(link, result);
		PQclear(result);
	}
}

void
ad_link_event(AdLink *link)
{
	switch (link->state)
	{
		case AD_LINK_DOWN:
			return;
		case AD_LINK_CONNECTING:
			go_on_connecting(link);
			return;
		default:
			break;
	}
	if (!PQconsumeInput(link->connection))
	{
		ad_link_lose(link, "the connection is gone");
		return;
	}
	if (link->events & EPOLLOUT)
		flush(link);
	if (link->state == AD_LINK_PREPARING || link->state == AD_LINK_BUSY)
		read_results(link);
}
