/*-------------------------------------------------------------------------
 *
 * queue.c
 *	  Which requests wait for the database, and who is asked?
 *
 * Whatever waits when a connection is free goes out on it as one call.  So a
 * request that comes alone is asked for at once, and the more there are the
 * less each of them costs.
 *
 * Knows neither HTTP library nor libpq.  Keeps no answer.  Locking: none, there
 * is one thread.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "http.h"
#include "link.h"
#include "log.h"
#include "metrics.h"
#include "queue.h"
#include "refusal.h"

/* A body that is larger goes alone: the others need not wait for it. */
#define BATCH_BYTES 16384

/* Milliseconds for a connection to be made. */
#define CONNECT_TIME 2000

/*
 * How often a request is sent when the connection is lost each time: what brought
 * the server down would do so again.  A server that is told to end does not count.
 */
#define ATTEMPTS 2

static const AdSettings *settings;
static AdLink *links;
static int	link_count;
static TAILQ_HEAD(AdList, AdRequest) waiting = TAILQ_HEAD_INITIALIZER(waiting);
static size_t waiting_count;
static size_t asked;			/* requests that a server was asked for */

static void
take_out(AdRequest *request)
{
	TAILQ_REMOVE(&waiting, request, place);
	waiting_count--;
}

/* ---- What becomes of a request that was sent ---- */

static void
take_answer(AdRequest *request)
{
	asked--;
	ad_http_resume(request);
}

static void
ask_again(AdRequest *request, bool ended)
{
	asked--;
	if (ended)
		request->attempts--;
	if (request->attempts < ATTEMPTS && request->deadline > ad_clock_now())
	{
		TAILQ_INSERT_HEAD(&waiting, request, place);
		waiting_count++;
		return;
	}
	ad_refusal_set(&request->reply, 503, 0);
	ad_http_resume(request);
}

static const AdLinkOwner owner = {take_answer, ask_again};

static void
make_links(void)
{
	links = calloc(settings->links, sizeof(AdLink));
	link_count = links == NULL ? 0 : settings->links;
	for (int i = 0; i < link_count; i++)
	{
		links[i].fd = -1;
		links[i].batch = calloc(settings->batch, sizeof(AdRequest *));
		if (links[i].batch == NULL)
			abort();
	}
}

void
ad_queue_start(int epoll, const AdSettings *wanted)
{
	settings = wanted;
	ad_link_init(epoll, &owner);
	make_links();
}

/* Is one there, or about to be, that was not lost over and over? */
static bool
has_hope(void)
{
	for (int i = 0; i < link_count; i++)
	{
		if (links[i].state >= AD_LINK_IDLE || links[i].failures < 2)
			return true;
	}
	return false;
}

bool
ad_queue_add(AdRequest *request)
{
	bool		has_room = waiting_count + asked < (size_t) settings->queue;

	if (has_room && has_hope())
	{
		request->deadline = request->arrived + settings->deadline;
		TAILQ_INSERT_TAIL(&waiting, request, place);
		waiting_count++;
		return true;
	}
	ad_metrics_add(has_room ? AD_NO_SERVER : AD_QUEUE_FULL, 1);
	ad_refusal_set(&request->reply, 503, 0);
	return false;
}

void
ad_queue_forget(AdRequest *request)
{
	for (int i = 0; i < link_count; i++)
	{
		for (int j = 0; j < links[i].count; j++)
		{
			if (links[i].batch[j] != request)
				continue;
			links[i].batch[j] = NULL;
			asked--;
			return;
		}
	}
	take_out(request);
}

void
ad_queue_event(void *link)
{
	ad_link_event(link);
}

static void
give_up(AdRequest *request)
{
	ad_metrics_add(AD_TOO_LATE, 1);
	ad_refusal_set(&request->reply, 503, 0);
	ad_http_resume(request);
}

/* Those that wait stand in the order of their deadlines, but for a few that were asked for before. */
static void
end_late_ones(int64_t now)
{
	AdRequest  *request;

	while ((request = TAILQ_FIRST(&waiting)) != NULL && request->deadline <= now)
	{
		take_out(request);
		give_up(request);
	}
	for (int i = 0; i < link_count; i++)
	{
		for (int j = 0; links[i].state == AD_LINK_BUSY && links[i].until <= now && j < links[i].count; j++)
		{
			request = links[i].batch[j];
			if (request == NULL || request->deadline > now)
				continue;
			links[i].batch[j] = NULL;
			asked--;
			give_up(request);
		}
	}
}

static void
fill_call(AdLink *link)
{
	size_t		bytes = 0;
	int64_t		until = 0;
	AdRequest  *request;

	while ((request = TAILQ_FIRST(&waiting)) != NULL && link->count < settings->batch)
	{
		bytes += request->fields[AD_BODY].len;
		if (link->count > 0 && bytes > BATCH_BYTES)
			break;
		take_out(request);
		request->attempts++;
		asked++;
		if (until == 0 || request->deadline < until)
			until = request->deadline;
		link->batch[link->count++] = request;
	}
	ad_link_send(link, until);
}

static void
move_on(AdLink *link, int64_t now)
{
	if (link->state > AD_LINK_DOWN && link->state != AD_LINK_IDLE && link->until <= now)
		ad_link_lose(link, "it does not answer in time");
	if (link->state == AD_LINK_IDLE && link->stale)
		ad_link_close(link);
	if (link->state == AD_LINK_DOWN && link->retry_at <= now)
		ad_link_open(link, settings->database, now + CONNECT_TIME);
	if (link->state == AD_LINK_IDLE && !TAILQ_EMPTY(&waiting))
		fill_call(link);
}

void
ad_queue_run(void)
{
	int64_t		now = ad_clock_now();

	end_late_ones(now);
	for (int i = 0; i < link_count; i++)
		move_on(&links[i], now);
}

int
ad_queue_timeout(void)
{
	int64_t		first = INT64_MAX;
	int64_t		left;

	if (!TAILQ_EMPTY(&waiting))
		first = TAILQ_FIRST(&waiting)->deadline;
	for (int i = 0; i < link_count; i++)
	{
		int64_t		due = links[i].state == AD_LINK_DOWN ? links[i].retry_at :
			links[i].state == AD_LINK_IDLE ? INT64_MAX : links[i].until;

		if (due < first)
			first = due;
	}
	if (first == INT64_MAX)
		return -1;
	left = first - ad_clock_now();
	return left < 0 ? 0 : left > 60000 ? 60000 : (int) left;
}

size_t
ad_queue_waiting(void)
{
	return waiting_count + asked;
}

bool
ad_queue_is_up(void)
{
	for (int i = 0; i < link_count; i++)
	{
		if (links[i].state >= AD_LINK_IDLE)
			return true;
	}
	return false;
}

void
ad_queue_reload(void)
{
	for (int i = 0; i < link_count; i++)
	{
		links[i].stale = true;
		links[i].failures = 0;
		if (links[i].state == AD_LINK_DOWN)
			links[i].retry_at = 0;
	}
}

/* What has no answer yet is refused: nothing may stay suspended. */
void
ad_queue_stop(void)
{
	end_late_ones(INT64_MAX);
	for (int i = 0; i < link_count; i++)
	{
		links[i].count = 0;
		ad_link_close(&links[i]);
		free(links[i].batch);
		for (int j = 0; j < AD_FIELDS; j++)
			free(links[i].arrays[j].data);
	}
	free(links);
	links = NULL;
	link_count = 0;
}
