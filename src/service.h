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

#include "problem.h"
#include "request.h"
#include "token.h"

/* Setting unleash_tokens.max_tokens; 0 = no limit. */
extern int	ut_max_tokens;

/*
 * Make a token.  *secret is the only copy of the secret there will ever be.
 * Refusals, in this order: environment, limit, projects.
 */
extern bool ut_service_create(const UtCreate *create, const UtActor *actor,
							  UtToken *token, char **secret, UtProblem *problem);

/*
 * Which token is this the secret of?  False when there is none that may be
 * used now: unknown, mistyped, expired, deleted, or without a project left.
 * Sees what is committed, whatever the isolation level, and writes nothing.
 */
extern bool ut_service_validate(const char *secret, size_t len, UtToken *token);

/* Write the events of tokens that went with their last project. */
extern void ut_service_report_scopeless(UtToken *tokens, int count, const UtActor *actor);

#endif							/* UT_SERVICE_H */
