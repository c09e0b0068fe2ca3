/*-------------------------------------------------------------------------
 *
 * role.h
 *	  Which database role may a request run as, and how does it become it?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_ROLE_H
#define UT_ROLE_H

/*
 * Why no token may run as this role, as a sentence; NULL when one may.  What
 * is said of the role holds for those it is a member of, too.
 */
extern const char *ut_role_find_fault(const char *name);

/*
 * Become the role for the rest of the transaction, with the settings it would
 * log in with.  What the session's user may SET ROLE to is the ceiling.  False,
 * and a line in the server's log, when that is refused.
 */
extern bool ut_role_become(const char *name);

#endif							/* UT_ROLE_H */
