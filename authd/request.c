/*-------------------------------------------------------------------------
 *
 * request.c
 *	  What did a client send?
 *
 * Copies of it, which are overwritten when they are freed.  What cannot go on
 * to the database is replaced by what the database refuses.
 *
 * Knows no database and logs nothing.  Locking: none, there is one thread.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "clock.h"
#include "refusal.h"
#include "request.h"
#include "text.h"

#define VALIDATE "/edge/validate"

/* What nginx lets through: http/nginx-common.conf and nginx-server.conf. */
#define BODY_LIMIT 102400
#define VALIDATE_LIMIT 1048576

static void
wipe(AdText *text)
{
	if (text->data != NULL)
	{
		explicit_bzero(text->data, text->len);
		free(text->data);
	}
	*text = (AdText)
	{
		0
	};
}

void
ad_request_free(AdRequest *request)
{
	for (int i = 0; i < AD_FIELDS; i++)
		wipe(&request->fields[i]);
	wipe(&request->reply.headers);
	wipe(&request->reply.body);
	free(request);
}

/* False when there is no memory. */
static bool
copy_text(AdText *to, const char *from, size_t len)
{
	to->data = malloc(len + 1);
	if (to->data == NULL)
		return false;
	memcpy(to->data, from, len);
	to->data[len] = '\0';
	to->len = len;
	return true;
}

AdRequest *
ad_request_make(const char *target)
{
	AdRequest  *request = calloc(1, sizeof(AdRequest));

	target = ad_text_origin(target);
	if (request != NULL && !copy_text(&request->fields[AD_TARGET], target, strlen(target)))
	{
		free(request);
		request = NULL;
	}
	return request;
}

/* A header that comes twice is none that can be meant. */
typedef struct Search
{
	const char *name;
	const char *value;
	size_t		len;
	int			count;
} Search;

static enum MHD_Result
take_header(void *context, enum MHD_ValueKind kind, const char *name, size_t name_len, const char *value, size_t len)
{
	Search	   *search = context;

	if (value != NULL && strcasecmp(name, search->name) == 0)
	{
		/* as nginx does; the library takes those in front away */
		while (len > 0 && value[len - 1] == ' ')
			len--;
		search->value = value;
		search->len = len;
		search->count++;
	}
	return MHD_YES;
}

/* Copy a header, or what stands for one that must not go on; false without memory. */
static bool
read_header(struct MHD_Connection *connection, const char *name, const char *instead, AdText *text)
{
	Search		search = {.name = name};

	(void) MHD_get_connection_values_n(connection, MHD_HEADER_KIND, take_header, &search);
	if (search.count == 0 || (search.count == 1 && search.len == 0))
		return true;
	if (search.count > 1 || !ad_text_is_clean(search.value, search.len))
		return copy_text(text, instead, strlen(instead));
	return copy_text(text, search.value, search.len);
}

static enum MHD_Result
wipe_header(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
	if (strcasecmp(name, MHD_HTTP_HEADER_AUTHORIZATION) == 0 && value != NULL)
		explicit_bzero((char *) value, strlen(value));
	return MHD_YES;
}

static bool
read_key(struct MHD_Connection *connection, AdText *text)
{
	Search		search = {.name = MHD_HTTP_HEADER_AUTHORIZATION};
	const char *key = "-";
	size_t		len = 1;
	bool		done;

	(void) MHD_get_connection_values_n(connection, MHD_HEADER_KIND, take_header, &search);
	if (search.count == 0)
		return true;
	if (search.count == 1)
		key = ad_text_key(search.value, search.len, &len);
	done = copy_text(text, key, len);
	(void) MHD_get_connection_values(connection, MHD_HEADER_KIND, wipe_header, NULL);
	return done;
}

/* What the nearest gateway says: the last one of a list. */
static bool
read_told_address(struct MHD_Connection *connection, const char *name, AdText *text)
{
	Search		search = {.name = name};
	const char *comma;

	(void) MHD_get_connection_values_n(connection, MHD_HEADER_KIND, take_header, &search);
	comma = search.count == 0 ? NULL : memrchr(search.value, ',', search.len);
	if (comma != NULL)
	{
		search.len -= comma + 1 - search.value;
		search.value = comma + 1;
	}
	while (search.len > 0 && strchr(" \t", *search.value) != NULL)
	{
		search.value++;
		search.len--;
	}
	return search.count == 0 || !ad_text_is_clean(search.value, search.len) ||
		copy_text(text, search.value, search.len);
}

/* Of who asks, unless whoever that is says it. */
static bool
read_address(struct MHD_Connection *connection, const char *address_header, AdText *text)
{
	const union MHD_ConnectionInfo *info;
	char		address[INET6_ADDRSTRLEN];
	const struct sockaddr *peer;
	const void *bytes;

	if (*address_header != '\0')
		return read_told_address(connection, address_header, text);
	info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	peer = info == NULL ? NULL : info->client_addr;
	if (peer == NULL || (peer->sa_family != AF_INET && peer->sa_family != AF_INET6))
		return true;
	bytes = peer->sa_family == AF_INET ? (const void *) &((const struct sockaddr_in *) peer)->sin_addr :
		(const void *) &((const struct sockaddr_in6 *) peer)->sin6_addr;
	return inet_ntop(peer->sa_family, bytes, address, sizeof(address)) == NULL ||
		copy_text(text, address, strlen(address));
}

bool
ad_request_has_path(const AdRequest *request, const char *path)
{
	const AdText *target = &request->fields[AD_TARGET];
	size_t		len = strlen(path);

	return target->len >= len && memcmp(target->data, path, len) == 0 &&
		(target->len == len || target->data[len] == '?');
}

bool
ad_request_read(AdRequest *request, struct MHD_Connection *connection, const char *method, const char *address_header)
{
	request->started = true;
	request->connection = connection;
	request->arrived = ad_clock_now();
	request->limit = ad_request_has_path(request, VALIDATE) ? VALIDATE_LIMIT : BODY_LIMIT;
	return copy_text(&request->fields[AD_METHOD], method, strlen(method)) &&
		read_key(connection, &request->fields[AD_KEY]) &&
		read_header(connection, MHD_HTTP_HEADER_CONTENT_TYPE, "invalid", &request->fields[AD_TYPE]) &&
		read_header(connection, MHD_HTTP_HEADER_CONTENT_ENCODING, "invalid", &request->fields[AD_ENCODING]) &&
		read_address(connection, address_header, &request->fields[AD_ADDRESS]);
}

/* What counts of a head, when it says whether and where its body ends. */
typedef struct Frame
{
	int			hosts;
	int			lengths;
	int			encodings;
	bool		is_chunked;
	bool		is_wrong;
	size_t		cookies;		/* bytes; the library keeps a copy */
} Frame;

static enum MHD_Result
take_frame(void *context, enum MHD_ValueKind kind, const char *name, size_t name_len, const char *value, size_t len)
{
	Frame	   *frame = context;

	/* one before its colon: whoever passed it on may have read another name */
	if (name_len == 0 || strchr(" \t", name[name_len - 1]) != NULL)
		frame->is_wrong = true;
	else if (strcasecmp(name, MHD_HTTP_HEADER_HOST) == 0)
	{
		frame->hosts++;
		frame->is_wrong |= len == 0;
	}
	else if (strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0)
		frame->lengths++;
	else if (strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0)
	{
		frame->encodings++;
		frame->is_chunked = value != NULL && strcasecmp(value, "chunked") == 0;
	}
	else if (strcasecmp(name, MHD_HTTP_HEADER_COOKIE) == 0)
		frame->cookies += len;
	return MHD_YES;
}

/*
 * The library takes what it understands of a head.  A gateway that understands
 * more or less of it would see other requests in the same bytes.
 */
bool
ad_request_is_framed(struct MHD_Connection *connection, const char *version)
{
	bool		is_old = strcmp(version, MHD_HTTP_VERSION_1_0) == 0;
	Frame		frame = {0};
	int			parts = MHD_get_connection_values(connection, MHD_HEADER_KIND | MHD_COOKIE_KIND | MHD_GET_ARGUMENT_KIND, NULL, NULL);
	size_t		size = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)->header_size;

	(void) MHD_get_connection_values_n(connection, MHD_HEADER_KIND, take_frame, &frame);
	if (frame.is_wrong || frame.hosts > 1 || frame.lengths > 1)
		return false;
	if (frame.encodings > 0 && (is_old || !frame.is_chunked || frame.encodings + frame.lengths > 1))
		return false;
	return size + frame.cookies + parts * AD_PART_ROOM <= AD_HEAD_LIMIT - AD_ANSWER_ROOM;
}

/* Does the head already say that the body is too large? */
bool
ad_request_is_too_large(const AdRequest *request, struct MHD_Connection *connection)
{
	const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

	return length != NULL && strtoull(length, NULL, 10) > request->limit;
}

/* A piece of the body; only one endpoint reads it. */
bool
ad_request_add(AdRequest *request, const char *piece, size_t len)
{
	AdText	   *body = &request->fields[AD_BODY];
	bool		fits = len <= request->limit - body->len;

	if (!fits)
		ad_refusal_set(&request->reply, 413, request->limit);
	if (!fits || request->limit != VALIDATE_LIMIT)
		return true;
	if (body->len + len > request->room)
	{
		size_t		room = (body->len + len) * 2;
		char	   *data = malloc(room);

		if (data == NULL)
			return false;
		if (body->len > 0)
			memcpy(data, body->data, body->len);
		/* realloc would leave the old one as it is */
		if (body->data != NULL)
			explicit_bzero(body->data, body->len);
		free(body->data);
		body->data = data;
		request->room = room;
	}
	memcpy(body->data + body->len, piece, len);
	body->len += len;
	return true;
}
