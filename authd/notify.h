/*-------------------------------------------------------------------------
 *
 * notify.h
 *	  How does systemd hear that authd is ready?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef AD_NOTIFY_H
#define AD_NOTIFY_H

/* Send lines of sd_notify(3); nothing when it was not systemd that started it. */
extern void ad_notify(const char *format,...) __attribute__((format(printf, 1, 2)));

#endif							/* AD_NOTIFY_H */
