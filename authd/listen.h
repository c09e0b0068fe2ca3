/*-------------------------------------------------------------------------
 *
 * listen.h
 *	  Where do clients find authd?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef AD_LISTEN_H
#define AD_LISTEN_H

#include <stdbool.h>

/*
 * A socket that listens at "unix:PATH", which gets that mode, or "ADDRESS:PORT"
 * with a numeric address, [..] around one of IPv6.  -1 (or false for what is
 * neither) and *problem, which is allocated or NULL, when that cannot be.
 */
extern bool ad_listen_check(const char *where, char **problem);
extern int	ad_listen(const char *where, int mode, char **problem);

/* Remove the path of a unix socket. */
extern void ad_listen_end(const char *where);

#endif							/* AD_LISTEN_H */
