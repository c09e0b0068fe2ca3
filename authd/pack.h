/*-------------------------------------------------------------------------
 *
 * pack.h
 *	  How do requests become the parameters of one call?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef AD_PACK_H
#define AD_PACK_H

#include "authd.h"

/* Bytes that are used again for the next call. */
typedef struct AdBuffer
{
	char	   *data;
	size_t		len;
	size_t		room;
} AdBuffer;

/*
 * One field of all requests as an array of bytea in PostgreSQL's binary form; the
 * buffer is emptied before.  False without memory.
 */
extern bool ad_pack_field(AdBuffer *buffer, AdRequest *const *requests, int count, AdField field);

/* Overwrite what was packed. */
extern void ad_pack_wipe(AdBuffer *buffer);

#endif							/* AD_PACK_H */
