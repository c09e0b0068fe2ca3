/*-------------------------------------------------------------------------
 *
 * rules/criteria.h
 *	  What is searched for, and in which order?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_CRITERIA_H
#define UT_CRITERIA_H

#include "base/problem.h"
#include "base/token.h"
#include "text/secret.h"

/* The parameters of a search, as texts; NULL: not given. */
typedef enum UtCriterion
{
	UT_CRITERION_LIMIT,			/* how many, 1 to 200; default 50 */
	UT_CRITERION_AFTER,			/* "next" of the page before */
	UT_CRITERION_SORT,			/* created, name, expires or rotation; -name
								 * and so on for the other direction */
	UT_CRITERION_TYPE,
	UT_CRITERION_PROJECT,		/* by name, among others or not */
	UT_CRITERION_ENVIRONMENT,
	UT_CRITERION_STATE,			/* valid, expiring, expired, pending, grace or
								 * unused */
	UT_CRITERION_DAYS,			/* of expiring and unused; default 30 */
	UT_CRITERION_NAME,			/* how it begins; ASCII letters in any case */
	UT_CRITERION_SELECTOR		/* how it begins */
} UtCriterion;

#define UT_CRITERIA (UT_CRITERION_SELECTOR + 1)

/* Their names on the wire. */
extern const char *const ut_criterion_names[UT_CRITERIA];

#define UT_SEARCH_LIMIT_MAX 200

typedef enum UtState
{
	UT_STATE_ANY, UT_STATE_VALID, UT_STATE_EXPIRING, UT_STATE_EXPIRED, UT_STATE_PENDING,
	UT_STATE_GRACE, UT_STATE_UNUSED
} UtState;

typedef enum UtOrder
{
	UT_ORDER_CREATED, UT_ORDER_NAME, UT_ORDER_EXPIRES, UT_ORDER_ROTATION
} UtOrder;

#define UT_ORDERS (UT_ORDER_ROTATION + 1)

/* Their names on the wire. */
extern const char *const ut_order_names[UT_ORDERS];

/* Where a page ends: the key of its last token in the order. */
typedef struct UtPlace
{
	char		selector[UT_SELECTOR_LEN + 1];	/* empty: nowhere yet */
	TimestampTz time;
	char	   *name;			/* as the index has it */
} UtPlace;

typedef struct UtCriteria
{
	int			limit;
	UtOrder		order;
	bool		descending;
	bool		has_type;
	UtTokenType type;
	const char *project;		/* NULL: any, and so below */
	const char *environment;
	UtState		state;
	int			days;
	const char *name;
	const char *selector;
	UtPlace		place;			/* behind which it begins */
} UtCriteria;

/*
 * Read the criteria.  Without a sort the order is that in which an index finds
 * what is looked for: for who is bound to projects always that of making.  Refused: one that cannot be read.
 */
extern bool ut_criteria_read(char *const *sent, bool is_bound, UtCriteria *criteria, UtProblem *problem);

/* How many at most a page has; NULL: the usual number.  Refused as above. */
extern bool ut_criteria_read_limit(const char *sent, int *limit, UtProblem *problem);

#endif							/* UT_CRITERIA_H */
