/*-------------------------------------------------------------------------
 *
 * plan.h
 *	  Which statements are there, and how is one run?
 *
 * For the store's own files only.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_STORE_PLAN_H
#define UT_STORE_PLAN_H

#include "executor/spi.h"
#include "utils/snapshot.h"

typedef enum UtPlan
{
	UT_PLAN_HAS_PROJECT,
	UT_PLAN_HAS_ENVIRONMENT,
	UT_PLAN_LOCK_ENVIRONMENT,
	UT_PLAN_LOCK_PROJECTS,
	UT_PLAN_COUNT,
	UT_PLAN_INSERT,
	UT_PLAN_INSERT_WHOLE,
	UT_PLAN_INSERT_PROJECTS,
	UT_PLAN_INSERT_EVENT,
	UT_PLAN_FIND_MANY,
	UT_PLAN_FIND_MANY_BY_VERIFIER,
	UT_PLAN_LIST,
	UT_PLAN_LIST_BY_NAME,
	UT_PLAN_LIST_BY_PROJECT,
	UT_PLAN_LIST_WITHIN,
	UT_PLAN_LOCK,
	UT_PLAN_UPDATE_EXPIRY,
	UT_PLAN_UPDATE,
	UT_PLAN_UPDATE_ROTATION,
	UT_PLAN_FINISH_ROTATION,
	UT_PLAN_CANCEL_ROTATION,
	UT_PLAN_LOCK_EXPIRED,
	UT_PLAN_FIND_LONGER,
	UT_PLAN_LOCK_LONGER,
	UT_PLAN_DELETE_EVENTS,
	UT_PLAN_UNKNOWN_ENVIRONMENTS,
	UT_PLAN_UNKNOWN_PROJECTS,
	UT_PLAN_INSERT_MANY,
	UT_PLAN_INSERT_MANY_WHOLE,
	UT_PLAN_IMPORT,
	UT_PLAN_IMPORT_WHOLE,
	UT_PLAN_IMPORT_PROJECTS,
	UT_PLAN_IMPORT_EVENTS,
	UT_PLAN_UPDATE_SEEN,
	UT_PLAN_ACTIVATE,
	UT_PLAN_FIND_UNSEEN,
	UT_PLAN_FIND_UNSEEN_MARKED,
	UT_PLAN_READ_NOTICE,
	UT_PLAN_LOCK_NOTICE,
	UT_PLAN_INSERT_NOTICE,
	UT_PLAN_MOVE_NOTICE,
	UT_PLAN_INSERT_NOTICES,
	UT_PLAN_FIND_SUBSCRIBED,
	UT_PLAN_LOCK_SCOPED,
	UT_PLAN_LOCK_ALL_SCOPED,
	UT_PLAN_FIND_SCOPELESS,
	UT_PLAN_DELETE,
	UT_PLAN_SET_GUARD_ROLE,
	UT_PLAN_LOCK_GUARD_ROLE,
	UT_PLAN_DROP_GUARD_ROLE,
	UT_PLAN_LOCK_INSTALL_PROJECT, UT_PLAN_LOCK_INSTALL_ENVIRONMENT,
	UT_PLAN_DELETE_INSTALL_PROJECT, UT_PLAN_DELETE_INSTALL_ENVIRONMENT,
	UT_PLAN_FIND_INSTALL_PROJECT, UT_PLAN_FIND_INSTALL_ENVIRONMENT,
	UT_PLAN_LOCK_NOTICE_ROW,
	UT_PLAN_DELETE_NOTICE_ROW,
	UT_PLAN_FIND_NOTICE_ROW,
	UT_PLAN_COUNT_STATES, UT_PLAN_FIND_CHECK,
	/* pages of tokens: upwards, and downwards behind it; within projects */
	UT_PLAN_PAGE, UT_PLAN_PAGE_DOWN,
	UT_PLAN_PAGE_OF_PROJECT, UT_PLAN_PAGE_OF_PROJECT_DOWN,
	UT_PLAN_PAGE_OF_TYPE, UT_PLAN_PAGE_OF_TYPE_DOWN,
	UT_PLAN_PAGE_BY_NAME, UT_PLAN_PAGE_BY_NAME_DOWN,
	UT_PLAN_PAGE_BY_EXPIRY, UT_PLAN_PAGE_BY_EXPIRY_DOWN,
	UT_PLAN_PAGE_BY_ROTATION, UT_PLAN_PAGE_BY_ROTATION_DOWN,
	UT_PLAN_PAGE_WITHIN, UT_PLAN_PAGE_WITHIN_DOWN,
	UT_PLAN_PAGE_WITHIN_BY_NAME, UT_PLAN_PAGE_WITHIN_BY_NAME_DOWN,
	UT_PLAN_PAGE_WITHIN_BY_EXPIRY, UT_PLAN_PAGE_WITHIN_BY_EXPIRY_DOWN,
	UT_PLAN_PAGE_WITHIN_BY_ROTATION, UT_PLAN_PAGE_WITHIN_BY_ROTATION_DOWN,
	UT_PLAN_PAGE_OF_EVENTS,
	UT_PLAN_LIST_CHOICES,
	UT_PLAN_LIST_FINDINGS,
	/* projects and environments */
	UT_PLAN_ADD_PROJECT, UT_PLAN_ADD_ENVIRONMENT,
	UT_PLAN_HOLD_PROJECT, UT_PLAN_HOLD_ENVIRONMENT,
	UT_PLAN_RENAME_PROJECT, UT_PLAN_RENAME_ENVIRONMENT,
	UT_PLAN_REMOVE_PROJECT, UT_PLAN_REMOVE_ENVIRONMENT,
	UT_PLAN_FIND_OF_ENVIRONMENT
} UtPlan;

#define UT_PLANS (UT_PLAN_FIND_OF_ENVIRONMENT + 1)

/* How a statement sees the tables. */
typedef enum UtView
{
	UT_VIEW_USUAL,				/* as any statement of this transaction */
	UT_VIEW_LATEST				/* what is committed now; read only */
} UtView;

/* Connect to SPI for a store function, and leave it again; checks the version. */
extern void ut_store_open(void);
extern void ut_store_close(void);

/* Run a kept plan; results as SPI leaves them.  Returns SPI_processed. */
extern uint64 ut_store_run(UtPlan plan, Datum *values, const char *nulls, UtView view);

/* Called for each row; the row lasts as long as the call.  False ends it. */
typedef bool (*UtRowVisitor) (TupleTableSlot *row, void *arg);

/* Run a kept plan that reads, under a snapshot of latest.h; no argument is NULL. */
extern void ut_store_visit_rows(UtPlan plan, Datum *values, Snapshot snapshot,
								UtRowVisitor visitor, void *arg);

#endif							/* UT_STORE_PLAN_H */
