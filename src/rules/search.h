/*-------------------------------------------------------------------------
 *
 * rules/search.h
 *	  Which tokens does a search find, in which order, and where does a page end?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_SEARCH_H
#define UT_SEARCH_H

#include "lib/stringinfo.h"

#include "base/problem.h"
#include "base/token.h"
#include "rules/criteria.h"

/*
 * Append {"tokens":[...],"next":...,"sort":...,"now":...}: those of the tokens
 * that the actor manages which meet all criteria.  Without a sort their order is
 * that in which an index finds them.  A page may have fewer tokens than asked
 * for, even none, and a next one all the same, so that each takes little time.
 * Refused: a criterion that cannot be read.
 */
extern bool ut_search_tokens(char *const *sent, const UtActor *actor, StringInfo out, UtProblem *problem);

#endif							/* UT_SEARCH_H */
