/*-------------------------------------------------------------------------
 *
 * rules/batch.h
 *	  How are many tokens made at once?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_BATCH_H
#define UT_BATCH_H

#include "utils/jsonb.h"

#include "base/problem.h"
#include "base/token.h"

/* Most tokens of one call: their answer is about 45 MB. */
#define UT_BATCH_MAX 100000

/*
 * Make a token of each element of an array, by the rules of create, all or
 * none.  *answer is the array of their answers, with the secrets, in the same
 * order.  Refusals are those of create, with the place of the element (from 0)
 * in path and detail, and those of an array that is none or too long; the limit
 * counts them all.  Events have no actor but a SQL role.
 */
extern bool ut_batch_create(Jsonb *body, const UtActor *actor,
							Jsonb **answer, UtProblem *problem);

#endif							/* UT_BATCH_H */
