/*-------------------------------------------------------------------------
 *
 * recall.h
 *	  What did guard_role say of a token like this one, and does it still?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_RECALL_H
#define UT_RECALL_H

#include "utils/rel.h"

#include "store/guard.h"

/*
 * The row for tokens of this kind (which has no role), as it was kept; false
 * when none is kept that still holds.  That there is no row is kept too: then
 * the row has no role.  Good to the next call of any of these.
 */
extern bool ut_recall_find(const UtGuardRole *kind, UtGuardRole *row);

/*
 * What changes were told of so far: to be asked once the table is locked, and
 * before the snapshot is taken.  Then what was read may be kept as of that; it
 * is not when a change was told of meanwhile, or when the table's trigger is not
 * there to tell of any.
 */
extern uint32 ut_recall_now(Oid table);
extern void ut_recall_keep(Relation table, uint32 as_of, const UtGuardRole *kind,
						   const UtGuardRole *row);

/*
 * The settings of a role (char *, "name=value") as they were kept, good until
 * the server has anything to say; false when none are kept.
 */
extern bool ut_recall_find_settings(Oid role, List **settings);

/* as_of: SharedInvalidMessageCounter before the snapshot was taken that they were read by. */
extern void ut_recall_keep_settings(uint64 as_of, Oid role, const List *settings);

#endif							/* UT_RECALL_H */
