/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  What is authd told, and where does it read that?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef AD_SETTINGS_H
#define AD_SETTINGS_H

#include <stdbool.h>

typedef struct AdSettings
{
	char	   *listen;			/* unix:PATH, or ADDRESS:PORT */
	int			socket_mode;	/* of the unix socket */
	char	   *database;		/* libpq's connection string */
	int			links;			/* connections to the server */
	int			batch;			/* requests of one call, at most */
	int			queue;			/* requests that wait, at most */
	int			clients;		/* connections of clients, at most */
	int			deadline;		/* milliseconds that a request may take */
	int			idle;			/* seconds that a client may be silent */
	char	   *address_header; /* in which whoever asks says where a request
								 * comes from; empty: from who asks */
	bool		repeat_refusals;	/* in the header X-Refusal, for our nginx */
} AdSettings;

/*
 * Read a file of lines "name = value"; NULL for defaults alone.  False: *problem
 * says which line and what is allowed.
 */
extern bool ad_settings_read(const char *path, AdSettings *settings, char **problem);

/* Take of fresh what can change while it runs; the rest stays as it was.  Frees fresh. */
extern void ad_settings_take(AdSettings *settings, AdSettings *fresh);

extern void ad_settings_free(AdSettings *settings);

#endif							/* AD_SETTINGS_H */
