/*-------------------------------------------------------------------------
 *
 * query.h
 *	  Which parameters are in the query of a request?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_QUERY_H
#define UT_QUERY_H

#include "base/problem.h"

/*
 * Take the query of a target apart: values[i] becomes what is sent for names[i],
 * decoded, and stays as it is when nothing is.  Nothing behind the parameter
 * last is read; -1: there is none such.  Refused as that problem: another name,
 * one that comes twice, one without a value, or what is no text.
 */
extern bool ut_query_read(const char *target, UtProblemId refusal, const char *const *names, int count,
						  int last, char **values, UtProblem *problem);

#endif							/* UT_QUERY_H */
