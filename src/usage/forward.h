/*-------------------------------------------------------------------------
 *
 * forward.h
 *	  How does a standby tell its primary?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_USAGE_FORWARD_H
#define UT_USAGE_FORWARD_H

#include "base/token.h"

/* Setting: a connection string without dbname; empty: a standby keeps its notes to itself. */
extern char *ut_primary_conninfo;

/* Is this a standby that does not know its primary, and keeps its notes to itself? */
extern bool ut_forward_has_nowhere(void);

/*
 * Send notes to note_usage() in the database of the same name on the primary.
 * Returns how many are done with: all or, after a failure that is reported and
 * logged, none.  The connection is kept for the next call; only a worker calls
 * this, and closes it at its end.
 */
extern int	ut_forward_send(const UtNote *notes, int count);
extern void ut_forward_close(void);

#endif							/* UT_USAGE_FORWARD_H */
