/*-------------------------------------------------------------------------
 *
 * latest.h
 *	  How do we see what is committed now?
 *
 * One protocol for every look-up, in this order: lock the tables, find and
 * lock their indexes, take a snapshot, read.  Whoever had to wait for a lock
 * reads what the one before left behind, and from tables and indexes that are
 * there: a snapshot taken earlier would not show a deletion that committed
 * meanwhile, nor the rows of a table that was written anew.
 *
 * Locking: tables and indexes ACCESS SHARE to the end of the transaction, as
 * SELECT does it.  For the store's own files only.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_STORE_LATEST_H
#define UT_STORE_LATEST_H

#include "access/genam.h"
#include "access/relscan.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* The tables that look-ups read. */
typedef enum UtTable
{
	UT_TABLE_TOKEN,
	UT_TABLE_SCOPE,
	UT_TABLE_PROJECT,
	UT_TABLE_ENVIRONMENT		/* by kept plans alone */
} UtTable;

#define UT_TABLES (UT_TABLE_ENVIRONMENT + 1)
#define UT_LOOKUPS UT_TABLE_ENVIRONMENT

/* How the rows of api_token are to be found. */
typedef enum UtBy
{
	UT_BY_SELECTOR,
	UT_BY_VERIFIER,
	UT_BY_STATEMENT				/* by a kept plan, with any index */
} UtBy;

/* The rows of one table whose column equals a value, found again and again. */
typedef struct UtLookup
{
	Oid			table_oid;
	Oid			index_oid;		/* InvalidOid: the table is read whole */
	AttrNumber	column;
	Relation	table;			/* NULL until it is used */
	Relation	index;
	IndexScanDesc index_scan;
	TableScanDesc table_scan;
	TupleTableSlot *slot;
} UtLookup;

/* A look at the tables; everything seen through it is of one moment. */
typedef struct UtLatest
{
	UtLookup	lookups[UT_LOOKUPS];
	Snapshot	snapshot;
	MemoryContext context;		/* lasts as long as the look */
} UtLatest;

/*
 * Begin and end a look.  Checks the versions first; error 42P01 when a table
 * of ours is not there, 42809 when something else has its name.  Needs no
 * privileges of the caller.
 */
extern void ut_latest_open(UtLatest *latest, UtBy by);
extern void ut_latest_close(UtLatest *latest);

/*
 * Find the rows of a table by the selector (the tokens' also by the verifier)
 * or the project, and get the next of them, or NULL.  A row lasts until the
 * next call for its table.
 */
extern void ut_latest_seek(UtLatest *latest, UtTable table, Datum value);
extern TupleTableSlot *ut_latest_next(UtLatest *latest, UtTable table);

#endif							/* UT_STORE_LATEST_H */
