/*-------------------------------------------------------------------------
 *
 * metrics.c
 *	  What can SQL call to watch a server?
 *
 * Knows no table and no name of a metric.  Locking: none of its own.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "usage/metrics.h"

PG_FUNCTION_INFO_V1(unleash_tokens_metrics);

Datum
unleash_tokens_metrics(PG_FUNCTION_ARGS)
{
	StringInfoData out;

	initStringInfo(&out);
	ut_metrics_append(&out);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}
