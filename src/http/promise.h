/*-------------------------------------------------------------------------
 *
 * promise.h
 *	  Is what PostgREST is about to answer going to be kept?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_PROMISE_H
#define UT_PROMISE_H

/* At load. */
extern void ut_promise_init(void);

/*
 * Something was written for a request of PostgREST's, and the answer will say
 * so: from now on PostgREST's rollback of this transaction is an error (25000),
 * which it answers instead.  Does nothing when PostgREST is not calling.
 */
extern void ut_promise_make(void);

#endif							/* UT_PROMISE_H */
