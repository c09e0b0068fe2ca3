/*-------------------------------------------------------------------------
 *
 * registry.h
 *	  How do projects and environments come and go?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_REGISTRY_H
#define UT_REGISTRY_H

#include "base/problem.h"
#include "store/store.h"

/*
 * Each of these refuses with false and a problem: a name that is NULL, empty,
 * longer than 100 characters, with a control character, "*" or "[]", as the
 * tables do.  Names that are looked for are not judged.
 */

/* *made is false when it was there before, and then it stays as it is. */
extern bool ut_registry_create_project(const char *id, bool *made, UtProblem *problem);
extern bool ut_registry_create_environment(const char *name, const char *type, bool enabled,
										   bool *made, UtProblem *problem);

/* *found is false when there is none of the name; refused when there is one of the other. */
extern bool ut_registry_rename(UtRegistry registry, const char *from, const char *to,
							   bool *found, UtProblem *problem);

/*
 * The tokens that reach no other project go with a project, with an event each.
 * Refused: an environment that tokens belong to.
 */
extern bool ut_registry_delete(UtRegistry registry, const char *name, bool *found, UtProblem *problem);

#endif							/* UT_REGISTRY_H */
