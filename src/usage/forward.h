/*-------------------------------------------------------------------------
 *
 * forward.h
 *	  How does a standby tell its primary?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_FORWARD_H
#define UT_FORWARD_H

#include "usage/usage.h"

/*
 * Send notes to note_usage() in the database of the same name on the server
 * that conninfo names.  Returns how many are done with: all or, after a
 * failure that is reported and logged, none.  Only a worker calls this.
 */
extern int	ut_forward_send(const char *conninfo, const UtNote *notes, int count);

#endif							/* UT_FORWARD_H */
