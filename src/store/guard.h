/*-------------------------------------------------------------------------
 *
 * guard.h
 *	  Which database role stands for a token, and which projects are there?
 *
 * Reads without a statement: no plan, no privileges of the caller and no
 * search_path.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_STORE_GUARD_H
#define UT_STORE_GUARD_H

#include "nodes/pg_list.h"
#include "utils/rel.h"

#include "base/token.h"

/* A row of guard_role; NULL stands for any. */
typedef struct UtGuardRole
{
	char	   *type;
	char	   *environment;
	char	   *project;
	char	   *role;			/* a name: no role may have it */
} UtGuardRole;

/*
 * The row that fits a token best, as it is committed now.  A row with a project
 * fits the tokens of that project alone.  False when none fits.
 */
extern bool ut_store_find_guard_role(const UtToken *token, UtGuardRole *found);

/* After a row of guard_role was written: that what was read of it holds no longer. */
extern void ut_store_tell_sessions(Relation table);

/* Write the row of these three, or remove it; false when there was none. */
extern void ut_store_set_guard_role(const UtGuardRole *row);
extern bool ut_store_drop_guard_role(const UtGuardRole *row);

/* What the running statement sees of the registry of projects. */
extern bool ut_store_is_project(const char *id);
extern List *ut_store_list_projects(void);

/* Does the role own the schema or a table in it? */
extern bool ut_store_is_owner(Oid role);

/*
 * What ALTER ROLE ... SET has for a role, "name=value" each: those for all
 * databases, then those for this one.
 */
extern List *ut_store_list_role_settings(Oid role);

#endif							/* UT_STORE_GUARD_H */
