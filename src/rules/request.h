/*-------------------------------------------------------------------------
 *
 * request.h
 *	  What do they ask for?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_REQUEST_H
#define UT_REQUEST_H

#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/problem.h"
#include "base/token.h"

/* The environment of a token that names none (Unleash 8.2.0, A-env-01). */
#define UT_DEFAULT_ENVIRONMENT "development"

/* What create asks for, checked in itself but not yet against the tables. */
typedef struct UtCreate
{
	UtTokenType type;
	char	   *name;
	char	   *environment;	/* NULL for admin: all */
	UtScope		scope;
	TimestampTz expires_at;		/* UT_TIME_UNSET: never */
	bool		rotatable;		/* may rotate itself */
	UtRate		rate;
	UtSources	sources;
} UtCreate;

/* Read the body of create by the rules of doc/reference.md, in their order. */
extern bool ut_request_create(Jsonb *body, UtCreate *create, UtProblem *problem);

/* What update asks for; what was not sent stays as it is. */
typedef struct UtUpdate
{
	bool		has_expiry;
	TimestampTz expires_at;
	bool		has_rate;
	UtRate		rate;
	bool		has_sources;
	UtSources	sources;
} UtUpdate;

/*
 * The same for a token of that project alone: projects in the body do not count,
 * and type may not be admin.
 */
extern bool ut_request_create_in(Jsonb *body, const char *project, UtCreate *create,
								 UtProblem *problem);

/*
 * Read the body of update: expiresAt, rateLimit and allowedIps, at least one of
 * them; null takes away.  Other keys are ignored.
 */
extern bool ut_request_update(Jsonb *body, UtUpdate *update, UtProblem *problem);

/*
 * Read the body of /edge/validate: {"tokens": [...]}.  Elements that are no
 * strings but other single values become NULL: Unleash ignores them (A-edge-11).
 * Of more than 5,000 the first 5,000 are read: an Edge refuses what is not
 * answered, but would keep all it has, revoked tokens too, if the whole call
 * were refused.
 */
extern bool ut_request_tokens(Jsonb *body, char ***tokens, int *count, UtProblem *problem);

/* What is asked for of a rotation. */
typedef struct UtRotate
{
	Interval	grace;			/* of the old secret, from the first use of
								 * the new one */
	TimestampTz activate_by;	/* unused until then, the new one is dropped */
} UtRotate;

/*
 * Read the body of rotate: graceSeconds, by default a day, and activateBy, by
 * default in seven days.  What is given as intervals is bounded likewise: grace
 * from 0 to 1,000 years, activation later than now and within 1,000 years.
 */
extern bool ut_request_rotate(Jsonb *body, UtRotate *rotate, UtProblem *problem);
extern bool ut_request_rotate_intervals(const Interval *grace, const Interval *activate_by,
										UtRotate *rotate, UtProblem *problem);

/* The token type of a name in any case; false when there is none. */
extern bool ut_request_type(const char *name, UtTokenType *type);

#endif							/* UT_REQUEST_H */
