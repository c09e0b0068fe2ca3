/*-------------------------------------------------------------------------
 *
 * persist.h
 *	  Where do the notes come from at a start, and where do they go at a stop?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_USAGE_PERSIST_H
#define UT_USAGE_PERSIST_H

/*
 * From _PG_init while the library is preloaded: have the server reserve the
 * shared memory, read the notes when it starts and write them when it stops.
 */
extern void ut_persist_init(void);

#endif							/* UT_USAGE_PERSIST_H */
