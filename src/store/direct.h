/*-------------------------------------------------------------------------
 *
 * direct.h
 *	  How is a row written or locked without a statement?
 *
 * For the store's own files only.  Both functions return UT_DIRECT_NOT, with
 * nothing done but tables locked, where only a statement can tell what is to
 * happen.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_STORE_DIRECT_H
#define UT_STORE_DIRECT_H

/* The tables that new rows go to one by one. */
typedef enum UtDirectTable
{
	UT_DIRECT_TOKEN,
	UT_DIRECT_PROJECT,
	UT_DIRECT_EVENT
} UtDirectTable;

#define UT_DIRECT_TABLES (UT_DIRECT_EVENT + 1)

/* A new row: its first columns; those behind them get their defaults. */
typedef struct UtDirectRow
{
	UtDirectTable table;
	int			count;
	const Datum *values;
	const char *nulls;			/* for each: 'n' is NULL, 'd' the default */
} UtDirectRow;

typedef enum UtDirectResult
{
	UT_DIRECT_NOT,				/* use the statement */
	UT_DIRECT_DONE,
	UT_DIRECT_MISSING			/* there is no such row */
} UtDirectResult;

/*
 * Write the rows as one command, as the current user; foreign keys and checks
 * hold when it returns.  Errors are those of an INSERT: 25006 where only reading
 * is allowed, 42501 as trust.h says, 23505 for a key that is taken.
 */
extern UtDirectResult ut_direct_insert(const UtDirectRow *rows, int count);

/* Lock the environment of that name FOR KEY SHARE; errors as of that SELECT. */
extern UtDirectResult ut_direct_lock_environment(const char *name);

#endif							/* UT_STORE_DIRECT_H */
