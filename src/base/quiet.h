/*-------------------------------------------------------------------------
 *
 * quiet.h
 *	  What of a text that is no JSON must the server's log not quote?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_QUIET_H
#define UT_QUIET_H

/* Hook into the log of this process and of those it starts. */
extern void ut_quiet_init(void);

#endif							/* UT_QUIET_H */
