/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  How are the notes of one database written or sent?
 *
 * A process of the launcher's: it writes what there is, and exits.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_USAGE_WORKER_H
#define UT_USAGE_WORKER_H

/* Entry point; the argument is the OID of the database, the server finds it by name. */
extern PGDLLEXPORT void ut_worker_main(Datum arg);

#endif							/* UT_USAGE_WORKER_H */
