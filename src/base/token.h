/*-------------------------------------------------------------------------
 *
 * token.h
 *	  What is a token?
 *
 * Types only; every room may include this and nothing is decided here.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_TOKEN_H
#define UT_TOKEN_H

#include "datatype/timestamp.h"

#include "text/address.h"

#define UT_VERIFIER_LEN 32		/* bytes of a SHA-256 digest */

/* A time that is not set: no expiry, never seen. */
#define UT_TIME_UNSET DT_NOBEGIN

typedef enum UtTokenType
{
	UT_TOKEN_CLIENT,
	UT_TOKEN_BACKEND,
	UT_TOKEN_FRONTEND,
	UT_TOKEN_ADMIN
} UtTokenType;

#define UT_TOKEN_TYPES (UT_TOKEN_ADMIN + 1)

/* As stored and shown; indexed by UtTokenType. */
static const char *const ut_token_type_names[UT_TOKEN_TYPES] = {
	"client", "backend", "frontend", "admin"
};

/* Which projects a token reaches.  Never "all" by absence. */
typedef struct UtScope
{
	bool		all;			/* every project, also those to come */
	int			count;			/* length of ids; 0 without all = refused */
	char	  **ids;			/* in the order they were asked for */
} UtScope;

/*
 * Which new secret a use was of, by the first bytes of its digest: a note of a
 * rotation that was cancelled starts no later one.
 */
#define UT_MARK_LEN 4
typedef struct UtMark
{
	bool		is_set;			/* false: of none that waits for its first use */
	uint8		bytes[UT_MARK_LEN];
} UtMark;

#define UT_RATE_LIMIT_MAX 1000000
#define UT_RATE_PERIOD_MAX 86400	/* seconds */
#define UT_RATE_BURST_MAX 100000	/* with these the longest wait fits 64
									 * bits of nanoseconds */

/* How often a token may be used: burst times at once, limit times a period. */
typedef struct UtRate
{
	int			limit;			/* 0: no bound; the others mean nothing then */
	int			period;			/* seconds */
	int			burst;
} UtRate;

/* Where a token may be used from.  Never "anywhere" by absence. */
typedef struct UtSources
{
	bool		listed;			/* only from these networks; else anywhere */
	int			count;
	UtNetwork  *networks;		/* in the order they were asked for */
} UtSources;

typedef struct UtToken
{
	char	   *selector;		/* public name, unique */
	uint8		verifier[UT_VERIFIER_LEN];	/* SHA-256 of the whole secret */
	char	   *name;			/* tokenName; not unique */
	UtTokenType type;
	char	   *environment;	/* NULL for admin: all environments */
	UtScope		scope;
	TimestampTz created_at;		/* cut to milliseconds */
	TimestampTz expires_at;		/* UT_TIME_UNSET: never */
	TimestampTz seen_at;		/* UT_TIME_UNSET: not yet */
	char	   *alias;			/* NULL, or as imported */
	bool		rotatable;		/* may rotate itself */
	bool		is_rotated;		/* the next three are set */
	uint8		next_verifier[UT_VERIFIER_LEN]; /* of the new secret */
	TimestampTz activate_by;	/* unused until then, it is dropped */
	TimestampTz old_until;		/* the old secret counts; UT_TIME_UNSET: as
								 * long as the new one was not used */
	UtMark		used;			/* by a validation */
	UtRate		rate;			/* its own; none: that of its type */
	UtSources	sources;
	char	   *created_by;		/* NULL but in a page of tokens */
} UtToken;

/* A use of a token: whoever carries it knows of which database. */
typedef struct UtNote
{
	char		selector[22];	/* UT_SELECTOR_LEN; not terminated */
	TimestampTz at;
	UtMark		mark;
} UtNote;

/* On whose behalf something is done, for the events. */
typedef struct UtActor
{
	const char *name;			/* the calling token's name, or the SQL role */
	const char *selector;		/* the calling token; NULL for a SQL role */
	const UtScope *bounds;		/* the projects whose tokens it manages; NULL:
								 * every token */
} UtActor;

#endif							/* UT_TOKEN_H */
