/*-------------------------------------------------------------------------
 *
 * quiet.c
 *	  What of a text that is no JSON must the server's log not quote?
 *
 * The server's reader of JSON quotes in DETAIL and CONTEXT what stands before
 * a fault, which may be a secret.  Where log_error_verbosity is terse, the
 * plain log leaves both out, but csvlog and jsonlog write them all the same.
 * Here they learn it; the client gets everything, as before.
 *
 * Knows nothing of tokens.  Locking: none.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/elog.h"

#include "base/quiet.h"

static emit_log_hook_type next_hook = NULL;

static void
hide_quotes(ErrorData *error)
{
	/* the file that has the reader's errors: their texts are translated */
	if (Log_error_verbosity == PGERROR_TERSE && error->elevel == ERROR &&
		error->filename != NULL && strcmp(error->filename, "jsonfuncs.c") == 0)
	{
		error->hide_ctx = true;
		error->detail_log = pstrdup("What was sent is not shown.");
	}
	if (next_hook != NULL)
		next_hook(error);
}

void
ut_quiet_init(void)
{
	next_hook = emit_log_hook;
	emit_log_hook = hide_quotes;
}
