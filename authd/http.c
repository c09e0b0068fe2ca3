/*-------------------------------------------------------------------------
 *
 * http.c
 *	  How do requests come in, and how do answers go out?
 *
 * libmicrohttpd parses HTTP and calls on_request(): once with the headers, once
 * for each piece of the body, and when all is there.  A request that waits for
 * the database is suspended, and on_request() is called again after it is
 * resumed.
 *
 * Knows no database.  Nothing of a request is logged, and what may hold a secret
 * is overwritten when it was used.  Locking: none, there is one thread.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "http.h"
#include "metrics.h"
#include "queue.h"
#include "refusal.h"
#include "request.h"
#include "text.h"

#define METRICS "/metrics"

static struct MHD_Daemon *server;
static const AdSettings *settings;
static bool closing;			/* connections end with their answer */
static bool resumed;			/* since the library ran */

/* ---- Requests ---- */

/* The request line: the target as it was sent, before the library decodes it. */
static void *
begin_request(void *context, const char *target, struct MHD_Connection *connection)
{
	return ad_request_make(target);
}

/* The library would decode it in its place. */
static size_t
keep_escapes(void *context, struct MHD_Connection *connection, char *text)
{
	return strlen(text);
}

static void
end_request(void *context, struct MHD_Connection *connection, void **slot, enum MHD_RequestTerminationCode how)
{
	AdRequest  *request = *slot;

	*slot = NULL;
	if (request == NULL)
		return;
	if (request->suspended)
		ad_queue_forget(request);
	ad_request_free(request);
}

/* ---- What is answered ---- */

/* The order in which nginx writes those of a refusal; others come as the database says them. */
static const char *const refusal_headers[] = {
	"Content-Type", "WWW-Authenticate", "Cache-Control", "Allow", "Retry-After", "RateLimit-Policy", "RateLimit", "X-Refusal"
};

#define REFUSAL_HEADERS (sizeof(refusal_headers) / sizeof(refusal_headers[0]))
#define REFUSAL (REFUSAL_HEADERS - 1)

/* Take the next line apart, in its place; false at the end. */
static bool
next_header(char **at, char **name, char **value)
{
	char	   *colon = *at == NULL ? NULL : strstr(*at, ": ");
	char	   *end = colon == NULL ? NULL : strchr(colon, '\n');

	if (end == NULL)
		return false;
	*colon = *end = '\0';
	*name = *at;
	*value = colon + 2;
	*at = end + 1;
	return true;
}

static void
add_header(struct MHD_Response *response, const char *name, const char *value)
{
	(void) MHD_add_response_header(response, name, value);
}

static void
add_refusal_headers(struct MHD_Response *response, char *const *values)
{
	for (size_t i = 0; i < REFUSAL_HEADERS; i++)
	{
		if (values[i] != NULL && (i != REFUSAL || settings->repeat_refusals))
			add_header(response, refusal_headers[i], values[i]);
	}
}

/* Its body is what the header repeats, as nginx has it from there. */
static struct MHD_Response *
make_refusal(AdReply *reply)
{
	char	   *values[REFUSAL_HEADERS] = {NULL};
	char	   *at = reply->headers.data;
	char	   *name;
	char	   *value;
	struct MHD_Response *response;

	while (next_header(&at, &name, &value))
	{
		for (size_t i = 0; i < REFUSAL_HEADERS; i++)
		{
			if (strcmp(name, refusal_headers[i]) == 0)
				values[i] = value;
		}
	}
	value = values[REFUSAL] == NULL ? "" : values[REFUSAL];
	response = MHD_create_response_from_buffer(strlen(value), value, MHD_RESPMEM_MUST_COPY);
	if (response != NULL)
		add_refusal_headers(response, values);
	return response;
}

typedef struct Stream
{
	size_t		len;
	char		data[];
} Stream;

static ssize_t
read_stream(void *context, uint64_t position, char *buffer, size_t max)
{
	const Stream *stream = context;
	size_t		len = stream->len - position;

	if (len == 0)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (len > max)
		len = max;
	memcpy(buffer, stream->data + position, len);
	return len;
}

static void
free_stream(void *context)
{
	Stream	   *stream = context;

	explicit_bzero(stream->data, stream->len);
	free(stream);
}

/* PostgREST does not say how long an answer is, and nginx compresses what has no length whatever it is. */
static struct MHD_Response *
make_stream(const AdText *body)
{
	Stream	   *stream = malloc(sizeof(Stream) + body->len);

	if (stream == NULL)
		return NULL;
	stream->len = body->len;
	memcpy(stream->data, body->data, body->len);
	return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, body->len + 64, read_stream, stream, free_stream);
}

/* The library would end a body of unknown length that an answer to HEAD does not have. */
static struct MHD_Response *
make_answer(AdReply *reply, bool is_head)
{
	struct MHD_Response *response = reply->body.len == 0 || is_head ?
		MHD_create_response_from_buffer(reply->body.len, reply->body.data, MHD_RESPMEM_MUST_COPY) : make_stream(&reply->body);
	char	   *at = reply->headers.data;
	char	   *name;
	char	   *value;

	while (response != NULL && next_header(&at, &name, &value))
		add_header(response, name, value);
	return response;
}

static enum MHD_Result
send_reply(AdRequest *request, struct MHD_Connection *connection)
{
	AdReply    *reply = &request->reply;
	bool		is_head = strcmp(request->fields[AD_METHOD].data, MHD_HTTP_METHOD_HEAD) == 0;
	struct MHD_Response *response = reply->status >= 400 ? make_refusal(reply) : make_answer(reply, is_head);
	enum MHD_Result result;

	if (response == NULL)
		return MHD_NO;
	ad_metrics_count(reply->status, ad_clock_now() - request->arrived);
	if (closing)
		add_header(response, "Connection", "close");
	result = MHD_queue_response(connection, reply->status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result
send_metrics(struct MHD_Connection *connection)
{
	char	   *text = ad_metrics_write(ad_http_connections(), ad_queue_waiting(), ad_queue_is_up());
	struct MHD_Response *response;
	enum MHD_Result result;

	if (text == NULL)
		return MHD_NO;
	response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	if (response == NULL)
		return MHD_NO;
	add_header(response, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
	result = MHD_queue_response(connection, 200, response);
	MHD_destroy_response(response);
	return result;
}

/* ---- The library's view ---- */

/* With the head alone; MHD_NO closes the connection. */
static enum MHD_Result
on_head(AdRequest *request, struct MHD_Connection *connection, const char *method, const char *version)
{
	if (!ad_request_read(request, connection, method, settings->address_header))
		return MHD_NO;
	if (!ad_request_is_framed(connection, version))
	{
		ad_refusal_set(&request->reply, 400, 0);
		return send_reply(request, connection);
	}
	if (!ad_text_is_target(request->fields[AD_TARGET].data, request->fields[AD_TARGET].len))
		ad_refusal_set(&request->reply, 400, 0);
	else if (ad_request_is_too_large(request, connection))
	{
		ad_refusal_set(&request->reply, 413, request->limit);
		return send_reply(request, connection);
	}
	return MHD_YES;
}

static enum MHD_Result
on_whole(AdRequest *request, struct MHD_Connection *connection)
{
	if (ad_request_has_path(request, METRICS) && request->reply.status == 0)
		return send_metrics(connection);
	if (request->reply.status != 0 || !ad_queue_add(request))
		return send_reply(request, connection);
	request->suspended = true;
	MHD_suspend_connection(connection);
	return MHD_YES;
}

static enum MHD_Result
on_request(void *context, struct MHD_Connection *connection, const char *url, const char *method,
		   const char *version, const char *piece, size_t *piece_len, void **slot)
{
	AdRequest  *request = *slot;

	if (request == NULL)
		return MHD_NO;			/* there was no memory for it */
	if (!request->started)
		return on_head(request, connection, method, version);
	if (*piece_len > 0)
	{
		size_t		len = *piece_len;

		*piece_len = 0;
		if (request->reply.status != 0)
			return MHD_YES;
		if (!ad_request_add(request, piece, len))
			return MHD_NO;
		explicit_bzero((char *) piece, len);
		return MHD_YES;
	}
	return on_whole(request, connection);
}

/* ---- For the loop ---- */

bool
ad_http_start(int socket, const AdSettings *wanted)
{
	settings = wanted;
	server = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME,
							  0, NULL, NULL, on_request, NULL,
							  MHD_OPTION_LISTEN_SOCKET, socket,
							  MHD_OPTION_URI_LOG_CALLBACK, begin_request, NULL,
							  MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
							  MHD_OPTION_NOTIFY_COMPLETED, end_request, NULL,
							  MHD_OPTION_CONNECTION_LIMIT, (unsigned) settings->clients,
							  MHD_OPTION_CONNECTION_TIMEOUT, (unsigned) settings->idle,
							  MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) AD_HEAD_LIMIT,
							  MHD_OPTION_STRICT_FOR_CLIENT, 1,
							  MHD_OPTION_END);
	return server != NULL;
}

int
ad_http_fd(void)
{
	return MHD_get_daemon_info(server, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

void
ad_http_run(void)
{
	resumed = false;
	(void) MHD_run(server);
}

int
ad_http_timeout(void)
{
	MHD_UNSIGNED_LONG_LONG timeout;

	/* the library's own does not say so */
	if (resumed)
		return 0;
	if (MHD_get_timeout(server, &timeout) != MHD_YES)
		return -1;
	return timeout > 60000 ? 60000 : (int) timeout;
}

void
ad_http_resume(AdRequest *request)
{
	request->suspended = false;
	resumed = true;
	MHD_resume_connection(request->connection);
}

/* The socket stays ours, and whoever connects to it from now on is refused. */
void
ad_http_quiesce(void)
{
	int			socket = MHD_quiesce_daemon(server);

	closing = true;
	if (socket >= 0)
		close(socket);
}

unsigned
ad_http_connections(void)
{
	return MHD_get_daemon_info(server, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)->num_connections;
}

void
ad_http_stop(void)
{
	MHD_stop_daemon(server);
}
