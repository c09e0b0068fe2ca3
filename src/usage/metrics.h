/*-------------------------------------------------------------------------
 *
 * metrics.h
 *	  What is a monitoring system told, and in which words?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_USAGE_METRICS_H
#define UT_USAGE_METRICS_H

#include "lib/stringinfo.h"

/* The media type of what is written below. */
#define UT_METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/*
 * Append all metrics in Prometheus's text format 0.0.4, in ASCII: counters of the
 * server from shared memory, and what was last counted in this database, which
 * is asked to be counted anew when that is due.  No table is read.  Without
 * shared memory there is little to tell, and a comment says so.
 */
extern void ut_metrics_append(StringInfo out);

#endif							/* UT_USAGE_METRICS_H */
