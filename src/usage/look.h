/*-------------------------------------------------------------------------
 *
 * look.h
 *	  Which databases are looked at, whether tokens are used there or not?
 *
 * For the launcher: a worker of each is to see which tokens expire soon.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_USAGE_LOOK_H
#define UT_USAGE_LOOK_H

#include "datatype/timestamp.h"

/* When all databases are to be looked at the next time; DT_NOEND while that is of no use. */
extern TimestampTz ut_look_next(void);

/* That is now: the configuration may have changed. */
extern void ut_look_soon(void);

/* In a transaction: when it is time, list all databases anew. */
extern void ut_look_begin(void);

/* Those of them that have not had a worker yet, and the given ones; sorted, in the current context. */
extern Oid *ut_look_add(const Oid *databases, int *count);

/* This one has a worker now. */
extern void ut_look_done(Oid database);

#endif							/* UT_USAGE_LOOK_H */
