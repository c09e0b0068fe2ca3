/*-------------------------------------------------------------------------
 *
 * queue.h
 *	  Which requests wait for the database, and who is asked?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef AD_QUEUE_H
#define AD_QUEUE_H

#include "authd.h"
#include "settings.h"

/* Begin, with the epoll descriptor that connections are watched by. */
extern void ad_queue_start(int epoll, const AdSettings *settings);

/* The settings have changed: connections are replaced when they have nothing to do. */
extern void ad_queue_reload(void);

/*
 * A request wants an answer.  False when there is no room or no server, and
 * then reply is set; else ad_http_resume() comes later.
 */
extern bool ad_queue_add(AdRequest *request);

/* The client of a request that waits has gone. */
extern void ad_queue_forget(AdRequest *request);

/* What epoll told of one of the connections. */
extern void ad_queue_event(void *link);

/* Send what waits, begin what is due, end what took too long. */
extern void ad_queue_run(void);

/* Milliseconds until that must be done again; -1: nothing is due. */
extern int	ad_queue_timeout(void);

/* Requests that have no answer yet. */
extern size_t ad_queue_waiting(void);

/* Is a server there? */
extern bool ad_queue_is_up(void);

/* Refuse what has no answer, and close the connections. */
extern void ad_queue_stop(void);

#endif							/* AD_QUEUE_H */
