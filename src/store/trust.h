/*-------------------------------------------------------------------------
 *
 * trust.h
 *	  Whose code runs when a table of ours is written?
 *
 * For the store's own files only.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_STORE_TRUST_H
#define UT_STORE_TRUST_H

#include "executor/spi.h"

/*
 * Error 42501 when what a kept plan is to write as the current user would run
 * code as it of somebody who may not act as it: the owner of the table, who can
 * give it checks and defaults, or of a trigger's function, put there by whoever
 * has TRIGGER on the table; and when a trigger has a condition that may run
 * anybody's.  Locks the table, and the one that a foreign key
 * writes along with it, ROW EXCLUSIVE, so that it stays true.
 */
extern void ut_store_check_statement(SPIPlanPtr plan);

/* The same for one table that is to be written, and locked ROW EXCLUSIVE. */
extern void ut_store_check_table(Relation table);

/* Whoever we were before. */
typedef struct UtOwner
{
	Relation	table;
	Oid			user;
	int			context;
	int			nest;
} UtOwner;

/*
 * For a process that is a superuser, around what it writes or reads: act as the
 * owner of a table of ours, which is locked, who gets no more than he has, and
 * stop it again.  A
 * restricted context keeps what the owner's code does within the statement: no
 * deferred trigger, which would run after it, no role or session of another, no
 * setting that stays.  An error puts the user back with the transaction.
 */
extern void ut_store_become_owner(const char *table, LOCKMODE mode, UtOwner *owner);
extern void ut_store_leave_owner(const UtOwner *owner);

#endif							/* UT_STORE_TRUST_H */
