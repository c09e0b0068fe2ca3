/*-------------------------------------------------------------------------
 *
 * service.h
 *	  What happens when a token is made, changed, deleted or checked?
 *
 * Both doors call these.  What is refused is a value, decided before the
 * first write; what fails for other reasons is raised by the server.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_SERVICE_H
#define UT_SERVICE_H

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

#include "base/problem.h"
#include "rules/request.h"
#include "base/token.h"

/* Setting unleash_tokens.max_tokens; 0 = no limit. */
extern int	ut_max_tokens;

/*
 * Make a token.  *secret is the only copy of the secret there will ever be.
 * Refusals, in this order: projects of others, environment, limit, projects.
 */
extern bool ut_service_create(const UtCreate *create, const UtActor *actor,
							  UtToken *token, char **secret, UtProblem *problem);

/*
 * Keep the environment, or the projects, that a token is about to refer to from
 * going before the transaction ends.  Refused when there is none; *unknown is
 * then the place in scope->ids of the first such project.
 */
extern bool ut_service_lock_environment(const char *name, UtProblem *problem);
extern bool ut_service_lock_projects(const UtScope *scope, int *unknown, UtProblem *problem);

/*
 * Which token is this the secret of?  False when there is none that may be
 * used now: unknown, mistyped, expired, deleted, without a project left, or one
 * that may be used from some addresses only, since none is known here.
 * Sees what is committed, whatever the isolation level, and writes nothing.
 */
extern bool ut_service_validate(const char *secret, size_t len, UtToken *token);

/*
 * The same for a secret that comes from an address, NULL when it is not known:
 * also false when the token must not be used from there.
 */
extern bool ut_service_validate_from(const char *secret, size_t len, const uint8 *address,
									 UtToken *token);

/*
 * The same for many at once: valid[i] tells whether tokens[i] is the token of
 * secrets[i], which may be NULL.
 */
extern void ut_service_validate_all(char **secrets, int count, bool *valid, UtToken *tokens);

/* Which tokens a list has: of those that the actor manages */
typedef struct UtSelection
{
	const UtActor *actor;
	const char *name;			/* those of that name, and the one of that
								 * selector; NULL: any */
	const char *project;		/* those that have it by name; NULL: any */
} UtSelection;

/* Append {"tokens":[...]}.  Refused when it would pass UT_LIST_MAX bytes. */
#define UT_LIST_MAX (256 * 1024 * 1024)
extern bool ut_service_list(const UtSelection *wanted, StringInfo out, UtProblem *problem);

/* The same as jsonb. */
extern bool ut_service_list_jsonb(const UtSelection *wanted, Jsonb **list, UtProblem *problem);

/* Is the project there, and one of those whose tokens the actor manages? */
extern bool ut_service_has_project(const char *project, const UtActor *actor, UtProblem *problem);

/*
 * Change the token that reference (a selector or a full secret) names, or
 * delete it.  Where there is none that the actor manages, nothing is done: *found, or what
 * delete returns, is false.  Refused: an expiry later than max_lifetime allows.
 */
extern bool ut_service_update(const char *reference, const UtUpdate *update,
							  const UtActor *actor, UtToken *token, bool *found,
							  UtProblem *problem);
extern bool ut_service_delete(const char *reference, const UtActor *actor);

/* The same below a project: refused when there is none, or when it has not that project alone. */
extern bool ut_service_delete_in(const char *project, const char *reference,
								 const UtActor *actor, UtProblem *problem);

/* Make a token that is locked what the changed one is, with an event. */
extern void ut_service_change(const UtToken *before, const UtToken *after,
							  const UtActor *actor);

/* Delete a token that is locked, with its event. */
extern void ut_service_remove(const UtToken *token, const UtActor *actor);

/*
 * The token that reference names, if the actor manages it; it is not locked: read
 * what is committed now.
 */
extern bool ut_service_find(const char *reference, const UtActor *actor, UtToken *token);

/* Write the event of a change; before or after is NULL. */
extern void ut_service_report(const char *type, const UtToken *before, const UtToken *after,
							  const UtActor *actor);

/* Write the events of tokens that went with their last project. */
extern void ut_service_report_scopeless(UtToken *tokens, int count, const UtActor *actor);

#endif							/* UT_SERVICE_H */
