/*-------------------------------------------------------------------------
 *
 * launcher.h
 *	  Which database gets a worker, and when?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_USAGE_LAUNCHER_H
#define UT_USAGE_LAUNCHER_H

/* Setting: seconds between the rounds in which each database with notes gets a worker. */
extern int	ut_flush_interval;

/* From _PG_init while the library is preloaded: the server is to start the launcher. */
extern void ut_launcher_register(void);

/* Entry point of the process; the server finds it by name. */
extern PGDLLEXPORT void ut_launcher_main(Datum arg);

#endif							/* UT_USAGE_LAUNCHER_H */
