/*-------------------------------------------------------------------------
 *
 * endpoint.h
 *	  Which endpoints are there, and what does each of them do?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_ENDPOINT_H
#define UT_ENDPOINT_H

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

#include "base/problem.h"
#include "base/token.h"
#include "http/quota.h"
#include "rules/caller.h"

typedef struct UtRequest
{
	const char *method;
	const char *target;			/* path and query, as sent */
	UtKey		key;
	const char *content_type;	/* or NULL */
	const char *content_encoding;	/* or NULL */
	bytea	   *bytes;			/* the body, or NULL */
	bool		ends_with_slash;	/* the path, which does not matter */
	const char *item;			/* what stands for {token} in the path,
								 * decoded */
	const char *project;		/* the same for {project} */
	Jsonb	   *body;			/* for routes with UT_ROUTE_BODY */
	UtToken		caller;			/* for routes without UT_ROUTE_OPEN */
	UtRateState rate;			/* what to say of its limit, if it has one */
} UtRequest;

typedef struct UtReply
{
	int			status;
	StringInfoData body;		/* in the server's encoding, or empty */
	const char *type;			/* of the body; NULL: JSON */
	StringInfoData headers;		/* as add_header writes them */
	UtAddHeader add_header;		/* for whoever is asking */
} UtReply;

/* False and a problem: nothing was written. */
typedef bool (*UtHandler) (UtRequest *request, UtReply *reply, UtProblem *problem);

#define UT_ROUTE_OPEN 1			/* needs no key; others need an admin token */
#define UT_ROUTE_BODY 2			/* takes a JSON body */
#define UT_ROUTE_READ 4			/* writes nothing, though it is a POST */
#define UT_ROUTE_WRITE 8		/* changes something */
#define UT_ROUTE_SELF 16		/* a rotation: not only for admin tokens */
#define UT_ROUTE_OPTIONAL 32	/* the body may be left out */
#define UT_ROUTE_UNBOUND 64		/* of the whole server: for admin tokens of
								 * all projects */

typedef struct UtRoute
{
	const char *method;			/* GET stands for HEAD too; * for any */
	const char *path;			/* exact; {token} and {project} are one
								 * segment, and ** whatever comes */
	int			flags;
	UtHandler	handler;
} UtRoute;

/*
 * Can this server write?  Not while it is a standby, and not while new
 * transactions are read only (default_transaction_read_only).
 */
extern bool ut_endpoint_can_write(UtProblem *problem);

/* All routes; those of one path stand together; ends with a NULL path. */
extern const UtRoute ut_routes[];

#endif							/* UT_ENDPOINT_H */
