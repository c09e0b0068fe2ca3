/*-------------------------------------------------------------------------
 *
 * caller.h
 *	  Who is asking, and may they?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_CALLER_H
#define UT_CALLER_H

#include "base/problem.h"
#include "base/token.h"
#include "usage/rate.h"

/* What a request brings to say who asks. */
typedef struct UtKey
{
	const char *text;			/* Authorization without "Bearer", or NULL */
	const uint8 *address;		/* where it comes from; NULL: not known */
} UtKey;

/*
 * The token of a key, and how often it may still be used.  Problems: no key, a
 * key that does not validate, one that is used too often.
 */
extern bool ut_caller_identify(const UtKey *key, UtToken *caller, UtRateState *rate, UtProblem *problem);

/* The same, and it must be of type admin. */
extern bool ut_caller_require_admin(const UtKey *key, UtToken *caller, UtRateState *rate, UtProblem *problem);

/* And it must not be bound to projects: what it asks for is of the whole server. */
extern bool ut_caller_require_all(const UtToken *caller, UtProblem *problem);

#define UT_TYPE_BIT(type) ((uint32) 1 << (type))

/* What is asked of a token. */
typedef struct UtNeed
{
	uint32		types;			/* UT_TYPE_BIT() of each that will do; 0: any */
	char	   *project;		/* that it must reach; NULL: any */
	char	   *environment;	/* that it must belong to; NULL: any */
} UtNeed;

/*
 * Is the token of such a type, and does it reach that project and environment?
 * client and backend are one family.  Problems: a project or environment that
 * does not exist, whatever the token reaches; a token that does not cover it.
 */
extern bool ut_caller_require(const UtToken *caller, const UtNeed *need, UtProblem *problem);

/*
 * May the actor see and change tokens of that scope?  A token of type admin
 * that is bound to projects manages those whose projects are all its own; any
 * other is for it as if it did not exist.  A SQL role manages every token.
 */
extern bool ut_caller_manages(const UtActor *actor, const UtScope *scope);

/* May it make such a token?  Refused with the projects that it has. */
extern bool ut_caller_require_bounds(const UtActor *actor, const UtScope *scope, UtProblem *problem);

/* Who acts: the calling token, or the SQL role outside SECURITY DEFINER. */
extern UtActor ut_caller_token_actor(const UtToken *caller);
extern UtActor ut_caller_sql_actor(void);

#endif							/* UT_CALLER_H */
