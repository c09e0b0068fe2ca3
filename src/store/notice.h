/*-------------------------------------------------------------------------
 *
 * notice.h
 *	  Which tokens are about to expire, and were not told of yet?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_STORE_NOTICE_H
#define UT_STORE_NOTICE_H

#include "base/token.h"
#include "text/secret.h"

/* Who has looked looks again after half an hour at the earliest. */
#define UT_NOTICE_STEP (30 * USECS_PER_MINUTE)

/* A token that is about to expire, and the event that says so. */
typedef struct UtExpiring
{
	char		selector[UT_SELECTOR_LEN + 1];
	char	   *name;
	TimestampTz expires_at;
	int64		event;
} UtExpiring;

/* In a transaction: are notices kept in this database, and by this server? */
extern bool ut_store_has_notices(void);

/*
 * Write an event for the next tokens, at most max, that expire from after on and
 * earlier than before, and that nobody was told of for this number of days; in
 * the order of their expiry.  Fewer than max: that were all, and up to before
 * nobody will be told again.
 */
extern UtExpiring *ut_store_tell_expiring(int days, TimestampTz after, TimestampTz before,
										  int max, int *count);

#endif							/* UT_STORE_NOTICE_H */
