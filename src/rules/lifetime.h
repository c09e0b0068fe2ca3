/*-------------------------------------------------------------------------
 *
 * rules/lifetime.h
 *	  How long may a token live?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_LIFETIME_H
#define UT_LIFETIME_H

#include "base/problem.h"
#include "base/token.h"

/* Setting unleash_tokens.max_lifetime, in seconds from created_at; 0 = no bound. */
extern int	ut_max_lifetime;

/*
 * Keep the expiry of a token that is made or changed within its lifetime: none
 * at all becomes the latest there may be, a later one is refused.
 */
extern bool ut_lifetime_apply(UtToken *token, UtProblem *problem);

/* Called for each token that lives too long; expires_at is what it has. */
typedef void (*UtLifetimeVisitor) (const UtToken *token, TimestampTz latest, void *arg);

/*
 * Go through the tokens that expire later than max_lifetime allows, in the order
 * of their selectors; unless dry_run give each the latest expiry there may be,
 * with an event.  Error 55000 without a max_lifetime.
 */
extern void ut_lifetime_enforce(bool dry_run, const UtActor *actor,
								UtLifetimeVisitor visitor, void *arg);

#endif							/* UT_LIFETIME_H */
