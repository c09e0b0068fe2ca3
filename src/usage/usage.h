/*-------------------------------------------------------------------------
 *
 * usage.h
 *	  When was a token last used?
 *
 * A use is noted in shared memory and written to the table later, in batches,
 * by a worker.  Noting takes no memory, no table and no transaction: it works
 * in READ ONLY transactions and on a standby.  Without the library in
 * shared_preload_libraries everything here does nothing.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_USAGE_H
#define UT_USAGE_H

#include "base/token.h"

/* What became of a secret that was to be validated. */
typedef enum UtVerdict
{
	UT_VERDICT_VALID,
	UT_VERDICT_MALFORMED,		/* by its text alone */
	UT_VERDICT_UNKNOWN,			/* no such token, or another key */
	UT_VERDICT_EXPIRED,
	UT_VERDICT_SCOPELESS,		/* no project left */
	UT_VERDICT_ELSEWHERE		/* not from that address */
} UtVerdict;

#define UT_VERDICTS (UT_VERDICT_ELSEWHERE + 1)

/* Setting: how many notes there is room for. */
extern int	ut_usage_slots;

/* Count a validation; note the use of the token when it is valid, with its mark. */
extern void ut_usage_count(UtVerdict verdict, const UtToken *token);

/* Note a use; a time that is older than the noted one changes nothing but the mark. */
extern void ut_usage_note(const char *selector, TimestampTz at, const UtMark *mark);

/* Are uses noted at all?  And is a use of that new secret noted in this database? */
extern bool ut_usage_is_noted(void);
extern bool ut_usage_has_mark(const char *selector, const UtMark *mark);

/* Raise token->seen_at to the noted use of this database, if that is newer. */
extern void ut_usage_overlay(UtToken *token);

#endif							/* UT_USAGE_H */
