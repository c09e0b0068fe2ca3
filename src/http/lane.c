/*-------------------------------------------------------------------------
 *
 * lane.c
 *	  How is one of many requests answered that come in one call?
 *
 * The program authd gathers what is waiting and asks for all of it at once.
 * Each look-up takes the latest snapshot, as it does for a request that comes
 * alone, so none sees less than what was committed when the call arrived.
 *
 * Knows no endpoint and no token.  Locking: what a request locks is held to the
 * end of the call.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/compat.h"
#include "base/encoding.h"
#include "http/lane.h"
#include "http/origin.h"
#include "http/rest.h"

/* A header's name and value are ASCII without control characters: see the router. */
static void
add_line(StringInfo headers, const char *name, const char *value)
{
	appendStringInfoString(headers, name);
	appendStringInfoString(headers, ": ");
	appendStringInfoString(headers, value);
	appendStringInfoChar(headers, '\n');
}

/* PostgREST's way gives an error too for what the database cannot write. */
static const char *
read_text(bytea *field)
{
	const char *text;

	if (field == NULL)
		return NULL;
	text = ut_encoding_from_utf8(VARDATA_ANY(field), VARSIZE_ANY_EXHDR(field));

	if (text == NULL || memchr(VARDATA_ANY(field), 0, VARSIZE_ANY_EXHDR(field)) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
				 errmsg("a request cannot be written in the encoding of the database")));
	return text;
}

static void
answer(bytea *const *fields, UtLaneReply *reply)
{
	const char *address = read_text(fields[UT_LANE_ADDRESS]);
	UtRequest	request = {
		.method = read_text(fields[UT_LANE_METHOD]),
		.target = read_text(fields[UT_LANE_TARGET]),
		.key.text = read_text(fields[UT_LANE_KEY]),
		.content_type = read_text(fields[UT_LANE_TYPE]),
		.content_encoding = read_text(fields[UT_LANE_ENCODING]),
		.bytes = fields[UT_LANE_BODY]
	};
	UtReply		made = {.add_header = add_line};

	if (request.method == NULL || request.target == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a request needs a method and a target")));
	request.key.address = address == NULL ? NULL : ut_origin_read(address, strlen(address));
	reply->body = ut_rest_answer_open(&request, &made);
	reply->status = made.status;
	reply->headers = made.headers.data;
}

/* Only the first line: what else an error says may quote what was sent. */
static void
report(MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("a request of many could not be answered: %s", error->message),
			 errhidestmt(true), errhidecontext(true)));
	FreeErrorData(error);
}

bool
ut_lane_answer(bytea *const *fields, UtLaneReply *reply)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	/* what it was before comes back with the end of the subtransaction */
	XactReadOnly = true;
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		answer(fields, reply);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		/* these mean the whole call */
		if (geterrcode() == ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		report(context);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return done;
}
