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

#include "base/token.h"

/* Raise an error unless as many rows were written as there should be. */
extern void ut_store_expect(uint64 written, uint64 expected);

/* Does a project or an environment exist now?  Locks nothing. */
extern bool ut_store_has_project(const char *id);
extern bool ut_store_has_environment(const char *name);

/* Does the environment exist for this transaction?  Locks it if so. */
extern bool ut_store_lock_environment(const char *name);

/* The place in scope->ids of the first unknown project, or -1; locks the rest. */
extern int	ut_store_lock_projects(const UtScope *scope);

/*
 * Are there fewer than limit tokens, whatever the isolation level?  Whoever
 * asks waits until all who asked before have ended their transactions.
 */
extern bool ut_store_is_below(int limit);

/*
 * Write a token, its scope and the event of its making with that data.  False,
 * and nothing done, when no row came to be; a selector that is taken, once in
 * 2^65 of the same millisecond, may fail by its key instead (23505).
 */
extern bool ut_store_insert(const UtToken *token, const UtActor *actor, Jsonb *data);

/* Write an event; data and pre_data may be NULL. */
extern void ut_store_add_event(const char *type, const UtToken *token,
							   const UtActor *actor, Jsonb *data, Jsonb *pre_data);

/*
 * Find a token as it is committed now, not as the transaction's snapshot has
 * it; seen_at is what was written.  Needs no privileges of the caller.
 */
extern bool ut_store_find(const char *selector, UtToken *token);
extern bool ut_store_find_by_verifier(const uint8 *verifier, UtToken *token);

/*
 * Find many at once: tokens has room for count and becomes as they are
 * committed now; found[i] tells whether tokens[i] is one.  Keys may be NULL.
 */
extern void ut_store_find_many(char **selectors, int count, bool *found, UtToken *tokens);
extern void ut_store_find_many_by_verifier(const uint8 **verifiers, int count,
										   bool *found, UtToken *tokens);

/* Called for each token of a list, in the memory context that the token is in. */
typedef bool (*UtVisitor) (UtToken *token, void *arg);

/*
 * Go through all tokens, or (name not NULL) those of that name and the one of
 * that selector, by createdAt then selector, until the visitor returns false.
 * A token lasts as long as the call, or (keep) as the caller's memory context.
 */
extern void ut_store_visit(const char *name, bool keep, UtVisitor visitor, void *arg);

/* The same for those that have the project by name, whatever else they have. */
extern void ut_store_visit_project(const char *project, bool keep, UtVisitor visitor, void *arg);

/* The same for those whose projects are all among these. */
extern void ut_store_visit_within(const UtScope *bounds, bool keep, UtVisitor visitor, void *arg);

/*
 * Are the projects of that token, of which there is one, all among these?  Of one
 * that has others no more is read than the first of those.  Locks nothing.
 */
extern bool ut_store_is_within(const char *selector, const UtScope *bounds);

/*
 * Lock a token FOR UPDATE, then read it: what it says of its projects is so
 * until this transaction ends.
 */
extern bool ut_store_lock(const char *selector, UtToken *token);

/* Write what can be changed of a token that is locked, or delete it. */
extern void ut_store_update(const UtToken *before, const UtToken *token);
extern void ut_store_delete(const char *selector);

/*
 * Give a token that is locked a new secret beside its old one: next_verifier and
 * activate_by.  Of a rotation whose grace has begun the new secret takes the
 * place of the old one first.
 */
extern void ut_store_set_rotation(const UtToken *token, const Interval *grace);

/* End the rotation of a token that is locked: the old secret goes, or (cancel) the new one. */
extern void ut_store_end_rotation(const char *selector, bool cancel);

/*
 * The tokens, at most 1,000 and in the order of their selectors, from the first
 * one behind after, that never expire or later than so many seconds after they
 * were made; locked FOR UPDATE when they are to be changed.
 */
extern UtToken *ut_store_find_longer(int seconds, const char *after, bool lock, int *count);

/* Lock the tokens that had expired by that time, then read them. */
extern UtToken *ut_store_lock_expired(TimestampTz by, int *count);

/* Delete the events of that time and before; returns how many. */
extern int64 ut_store_delete_events(TimestampTz by);

/*
 * Write when tokens were used, and which new secrets, with an event each; notes are in the order of their selectors.
 * Rows that others have locked are skipped, a time never goes back.  Notes that
 * are done with (also those of tokens that are gone) are moved to the front;
 * returns how many.
 */
extern int	ut_store_write_seen(UtNote *notes, int count);

/* A token on its way in. */
typedef struct UtIncoming
{
	UtToken		token;
	bool		by_verifier;	/* its secret has no selector */
	const char *refusal;		/* why it does not come in, or NULL */
	bool		inserted;		/* set by ut_store_import */
	bool		taken;			/* set by ut_store_import: another secret has
								 * its selector */
} UtIncoming;

/*
 * Refuse the tokens whose environment or a project is unknown; those that are
 * refused already are left alone.
 */
extern void ut_store_check_incoming(UtIncoming *incoming, int count);

/*
 * Write the tokens that are not refused and not there yet, in one statement
 * for each table; events holds the data of each one's event.
 */
extern void ut_store_import(UtIncoming *incoming, int count, Jsonb **events,
							const UtActor *actor);

/*
 * Write tokens that are all new, with their scopes and events, in one statement
 * for each table; refusal, by_verifier and inserted are those of zeroed memory.
 */
extern void ut_store_insert_many(UtIncoming *incoming, int count, Jsonb **events,
								 const UtActor *actor);

typedef enum UtRegistry
{
	UT_REGISTRY_PROJECT,
	UT_REGISTRY_ENVIRONMENT
} UtRegistry;

/* Enter one; false when it is there. */
extern bool ut_store_add_project(const char *id);
extern bool ut_store_add_environment(const char *name, const char *type, bool enabled);

/* Lock the row FOR UPDATE; false when there is none.  Then rename or delete it. */
extern bool ut_store_hold_name(UtRegistry registry, const char *name);
extern void ut_store_rename(UtRegistry registry, const char *from, const char *to);
extern void ut_store_remove_name(UtRegistry registry, const char *name);

/* The selector of a token that belongs to the environment, or NULL. */
extern char *ut_store_find_of_environment(const char *name);

/*
 * For the trigger on project and environment: the row to write, marked as one
 * that is not the install's any more.
 */
extern HeapTuple ut_store_mark_changed(TriggerData *trigger);

/*
 * For the trigger on backup_row: put the row where it belongs.  A row of the
 * install that nobody changed and no token uses makes room for it, or goes when
 * the dump says that it was removed.
 */
extern void ut_store_restore(TriggerData *trigger);

/*
 * For the trigger on api_token_project: delete the tokens that lost their last
 * project in this statement and hand them over as they were before.
 */
extern UtToken *ut_store_delete_scopeless(TriggerData *trigger, int *count);

#endif							/* UT_STORE_H */
