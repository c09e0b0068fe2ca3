/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  Who writes down when tokens were used, and when?
 *
 * A launcher without a database, one for the server, starts for each database
 * with notes a worker that writes them and exits.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_WORKER_H
#define UT_WORKER_H

/* From _PG_init while the library is preloaded. */
extern void ut_worker_register_launcher(void);

/* Entry points of the processes; the server finds them by name. */
extern PGDLLEXPORT void ut_worker_launcher_main(Datum arg);
extern PGDLLEXPORT void ut_worker_flush_main(Datum arg);

#endif							/* UT_WORKER_H */
