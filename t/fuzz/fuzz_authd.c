/*
 * The way of a request through authd: bytes of a client into libmicrohttpd, what
 * http.c and request.c make of them, their parameters packed, an answer back.  In
 * place of the database the queue here answers at once or later, as the first
 * byte of the input says, with headers and a body that are parts of the request.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "http.h"
#include "metrics.h"
#include "pack.h"
#include "queue.h"
#include "refusal.h"
#include "request.h"
#include "settings.h"
#include "text.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t mode;
static AdRequest *waiting[64];
static size_t count;
static struct sockaddr_un server;
static socklen_t server_len = sizeof(server);

static void
answer(AdRequest *request)
{
	static const int statuses[] = {200, 204, 401, 503};
	const AdText *key = &request->fields[AD_KEY];
	AdBuffer	buffer = {0};
	AdReply    *reply = &request->reply;

	for (int i = 0; i < AD_FIELDS; i++)
		assert(ad_pack_field(&buffer, &request, 1, i));
	ad_pack_wipe(&buffer);
	free(buffer.data);
	/* what may reach the database is clean */
	assert(ad_text_is_target(request->fields[AD_TARGET].data, request->fields[AD_TARGET].len));
	assert(key->data == NULL || ad_text_is_clean(key->data, key->len));
	for (int i = AD_ADDRESS; i < AD_BODY; i++)
		assert(request->fields[i].data == NULL || ad_text_is_clean(request->fields[i].data, request->fields[i].len));
	if (mode & 4)
	{
		ad_refusal_set(reply, 503, 0);
		return;
	}
	reply->status = statuses[mode >> 3 & 3];
	assert(asprintf(&reply->headers.data, "Content-Type: text/plain\nX-Token-Name: %.*s\nX-Refusal: %.*s\n", (int) (key->len % 100),
					key->data == NULL ? "" : key->data, (int) (key->len % 10), key->data == NULL ? "" : key->data) >= 0);
	reply->headers.len = strlen(reply->headers.data);
	reply->body.data = strdup(reply->status == 204 ? "" : "{\"tokens\":[]}");
	reply->body.len = strlen(reply->body.data);
}

/* ---- In place of queue.c ---- */

bool
ad_queue_add(AdRequest *request)
{
	if ((mode & 1) || count == sizeof(waiting) / sizeof(waiting[0]))
	{
		answer(request);
		return false;
	}
	waiting[count++] = request;
	return true;
}

void
ad_queue_forget(AdRequest *request)
{
	(void) request;
	abort();
}

size_t
ad_queue_waiting(void)
{
	return count;
}

bool
ad_queue_is_up(void)
{
	return true;
}

static void
answer_all(void)
{
	while (count > 0)
	{
		AdRequest  *request = waiting[--count];

		answer(request);
		ad_http_resume(request);
	}
}

/* ---- The client ---- */

static void
run(int client)
{
	char		bytes[4096];

	for (int i = 0; i < 3; i++)
	{
		ad_http_run();
		answer_all();
	}
	while (recv(client, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static void
start(void)
{
	static AdSettings settings;
	char	   *problem;
	int			fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	assert(ad_settings_read(NULL, &settings, &problem));
	free(settings.address_header);
	settings.address_header = strdup("X-Original-Address");
	settings.repeat_refusals = true;
	/* without a name it is bound to one of the kernel's */
	server.sun_family = AF_UNIX;
	assert(fd >= 0 && bind(fd, (struct sockaddr *) &server, sizeof(sa_family_t)) == 0 && listen(fd, 1) == 0);
	assert(getsockname(fd, (struct sockaddr *) &server, &server_len) == 0);
	assert(ad_http_start(fd, &settings));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool started;
	int			client;
	size_t		half;

	if (!started)
		start();
	started = true;
	if (size < 2)
		return 0;
	mode = data[0];
	half = (mode & 2) ? 1 + data[1] % (size - 1) : size;
	client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert(client >= 0 && connect(client, (struct sockaddr *) &server, server_len) == 0);
	(void) !send(client, data + 1, half - 1, MSG_NOSIGNAL);
	run(client);
	if (half < size)
	{
		(void) !send(client, data + half, size - half, MSG_NOSIGNAL);
		run(client);
	}
	close(client);
	run(client);
	ad_http_run();
	return 0;
}
