/*-------------------------------------------------------------------------
 *
 * store.h
 *	  Where are tokens kept?
 *
 * Everything found is allocated in the memory context of the caller.  Errors
 * of the server (out of space, serialization failures ...) go on as they are.
 *
 * Locking: a project or environment that a token is about to refer to is
 * locked FOR KEY SHARE when it is looked up, so that it cannot go before the
 * token is there.  The limit has a lock of its own, held to the end of the
 * transaction.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_STORE_H
#define UT_STORE_H

#include "commands/trigger.h"
#include "utils/jsonb.h"

#include "token.h"

/* Does the environment exist for this transaction?  Locks it if so. */
extern bool ut_store_lock_environment(const char *name);

/* The place in scope->ids of the first unknown project, or -1; locks the rest. */
extern int	ut_store_lock_projects(const UtScope *scope);

/*
 * Are there fewer than limit tokens, whatever the isolation level?  Whoever
 * asks waits until all who asked before have ended their transactions.
 */
extern bool ut_store_is_below(int limit);

/* Write a token and its scope.  False, and nothing done, when the selector is taken. */
extern bool ut_store_insert(const UtToken *token, const char *created_by);

/* Write an event; data and pre_data may be NULL. */
extern void ut_store_add_event(const char *type, const UtToken *token,
							   const UtActor *actor, Jsonb *data, Jsonb *pre_data);

/* Find a token as it is committed now, not as the transaction's snapshot has it. */
extern bool ut_store_find(const char *selector, UtToken *token);
extern bool ut_store_find_by_verifier(const uint8 *verifier, UtToken *token);

/*
 * For the trigger on project and environment: make room for an incoming row.
 * Removes the row of that key if CREATE EXTENSION made it, nobody changed it
 * and no token uses it.
 */
extern void ut_store_yield_registry(bool is_project, Datum key);

/*
 * For the trigger on api_token_project: delete the tokens that lost their last
 * project in this statement and hand them over as they were before.
 */
extern UtToken *ut_store_delete_scopeless(TriggerData *trigger, int *count);

#endif							/* UT_STORE_H */
