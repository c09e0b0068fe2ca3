/*-------------------------------------------------------------------------
 *
 * statement.h
 *	  Which statements are there?  For plan.c only: others name a statement by
 *	  its UtPlan.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_STATEMENT_H
#define UT_STATEMENT_H

#include "store/plan.h"

#define UT_STATEMENT_ARGS 21

typedef struct UtStatement
{
	const char *sql;
	int			nargs;
	Oid			argtypes[UT_STATEMENT_ARGS];
	bool		by_key;			/* rows are few, and found by their keys */
	bool		in_order;		/* the first of many, as an index has them */
} UtStatement;

extern const UtStatement ut_statements[UT_PLANS];

#endif							/* UT_STATEMENT_H */
