/*-------------------------------------------------------------------------
 *
 * link.h
 *	  How is one connection to PostgreSQL made, used and lost?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef AD_LINK_H
#define AD_LINK_H

#include <libpq-fe.h>

#include "pack.h"

typedef enum AdLinkState
{
	AD_LINK_DOWN,				/* until retry_at */
	AD_LINK_CONNECTING,
	AD_LINK_PREPARING,
	AD_LINK_IDLE,
	AD_LINK_BUSY
} AdLinkState;

typedef struct AdLink
{
	AdLinkState state;
	PGconn	   *connection;
	int			fd;				/* that epoll watches; -1: none */
	uint32_t	events;			/* for which */
	int64_t		retry_at;
	int64_t		until;			/* when connecting or the call must be done */
	unsigned	failures;		/* since it was last up */
	unsigned	place;			/* of the one host to try, behind one that
								 * hung; 0: all */
	bool		stale;			/* the settings have changed */
	bool		ended;			/* the server has said that it ends it */
	int			count;			/* requests of the call */
	AdRequest **batch;			/* NULL: has had its answer */
	AdBuffer	arrays[AD_FIELDS];
} AdLink;

/* What becomes of a request of a call. */
typedef struct AdLinkOwner
{
	/* it has its reply */
	void		(*answered) (AdRequest *request);
	/* the connection was lost before; ended: by the server, which said so */
	void		(*lost) (AdRequest *request, bool ended);
} AdLinkOwner;

/* Is that a connection string?  False, and *problem is allocated or NULL. */
extern bool ad_link_check(const char *database, char **problem);

/* Before all else. */
extern void ad_link_init(int epoll, const AdLinkOwner *owner);

/* Begin to connect; every call of these moves it on, none waits. */
extern void ad_link_open(AdLink *link, const char *database, int64_t until);

/* What epoll told of it. */
extern void ad_link_event(AdLink *link);

/* Ask for the requests in link->batch. */
extern void ad_link_send(AdLink *link, int64_t until);

/* Its time is over, or it failed: close it, and try again later. */
extern void ad_link_lose(AdLink *link, const char *why);

/* Close it, without a reason. */
extern void ad_link_close(AdLink *link);

#endif							/* AD_LINK_H */
