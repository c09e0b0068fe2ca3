/*-------------------------------------------------------------------------
 *
 * scope.h
 *	  What does a token reach?
 *
 * The one place that knows what a scope means; how it is stored and read is
 * the store's.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_SCOPE_H
#define UT_SCOPE_H

#include "base/token.h"

/* The projects as they are shown, and how many: "*" stands for all. */
extern char *const *ut_scope_projects(const UtScope *scope, int *count);

/* The environment as it is shown: "*" stands for all, which admin tokens reach. */
extern const char *ut_scope_environment(const UtToken *token);

/* Is the project one of those it has by name? */
extern bool ut_scope_names(const UtScope *scope, const char *project);

/* Does it reach the project, if that exists? */
extern bool ut_scope_reaches(const UtScope *scope, const char *project);

/* Is what the inner one reaches, which is something, all reached by the outer one? */
extern bool ut_scope_covers(const UtScope *outer, const UtScope *inner);

/* Nothing at all: never the same as everything. */
extern bool ut_scope_is_empty(const UtScope *scope);

#endif							/* UT_SCOPE_H */
