/*-------------------------------------------------------------------------
 *
 * notice.h
 *	  How long before a token expires is that told, and to whom?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_USAGE_NOTICE_H
#define UT_USAGE_NOTICE_H

/* Days before the expiry at which a notice is given: how many there may be, and how long ago. */
#define UT_NOTICES 10
#define UT_NOTICE_DAYS_MAX 3650

/* From _PG_init: the setting unleash_tokens.expiry_notice. */
extern void ut_notice_init(void);

/*
 * The days that the setting names, the fewest first; returns how many there are,
 * 0 for none.  *days is good until the setting changes.
 */
extern int	ut_notice_days(const int **days);

/*
 * In a transaction of a worker: tell of the next tokens that are about to
 * expire, in events and by NOTIFY on the channel unleash_tokens.  True when
 * there are more.
 */
extern bool ut_notice_tell(void);

#endif							/* UT_USAGE_NOTICE_H */
