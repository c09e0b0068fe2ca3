/*-------------------------------------------------------------------------
 *
 * read.h
 *	  How are tokens read, as they are committed now?
 *
 * For the store's own files; what others may ask is in store.h.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_STORE_READ_H
#define UT_STORE_READ_H

#include "base/token.h"
#include "store/latest.h"
#include "store/plan.h"

/*
 * The tokens whose selectors a statement finds, or locks, read after it: what
 * the statement itself saw of their projects may be older than its locks.
 */
extern UtToken *ut_store_read_selected(UtPlan plan, Datum *values, const char *nulls,
									   UtView view, int *count);

/*
 * What many tokens reach, whose rows were found by a statement: projects that
 * were seen are not looked up again.  Begun in the memory context that lasts.
 */
typedef struct UtScopeReader UtScopeReader;
extern UtScopeReader *ut_store_begin_scopes(void);
extern void ut_store_read_scope(UtLatest *latest, UtScopeReader *seen, UtToken *token);

#endif							/* UT_STORE_READ_H */
