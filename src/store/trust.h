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

#include "utils/rel.h"

/*
 * Error 42501 when updating a table as that role would run a trigger's function
 * as it which belongs to somebody who may not act as it: whoever has TRIGGER on
 * the table could put one there.  The table is locked, so that it stays true.
 */
extern void ut_store_check_update_triggers(Relation table, Oid role);

#endif							/* UT_STORE_TRUST_H */
