/*-------------------------------------------------------------------------
 *
 * http.h
 *	  How do requests come in, and how do answers go out?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef AD_HTTP_H
#define AD_HTTP_H

#include "authd.h"
#include "settings.h"

/* Listen on that socket; false when the library cannot be started. */
extern bool ad_http_start(int socket, const AdSettings *settings);

/* The descriptor that is readable when there is something to do. */
extern int	ad_http_fd(void);

/* Do it, without waiting. */
extern void ad_http_run(void);

/* Milliseconds until it must be run in any case; -1: none are known. */
extern int	ad_http_timeout(void);

/* An answer is there: go on with the connection.  Takes the request out of all lists. */
extern void ad_http_resume(AdRequest *request);

/* No new connections. */
extern void ad_http_quiesce(void);

/* Connections that are open. */
extern unsigned ad_http_connections(void);

/* End: nothing may be suspended any more. */
extern void ad_http_stop(void);

#endif							/* AD_HTTP_H */
