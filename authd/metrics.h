/*-------------------------------------------------------------------------
 *
 * metrics.h
 *	  What has authd done so far?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef AD_METRICS_H
#define AD_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum AdCounter
{
	AD_BATCHES,					/* calls of authorize_many() */
	AD_BATCHED,					/* requests in them */
	AD_CONNECTED,				/* connections to the server that were made */
	AD_LOST,					/* that ended without being told to */
	AD_QUEUE_FULL,				/* requests refused for want of room */
	AD_NO_SERVER,				/* for want of a server */
	AD_TOO_LATE,				/* after their deadline */
	AD_FAILED,					/* that ended in an error of the server */
	AD_COUNTERS
} AdCounter;

/* One more, or several. */
extern void ad_metrics_add(AdCounter counter, uint64_t count);

/* An answer went out, so many milliseconds after its request was read. */
extern void ad_metrics_count(int status, int64_t milliseconds);

/* All of it in the text format of Prometheus; NULL without memory, else to be freed. */
extern char *ad_metrics_write(unsigned connections, size_t waiting, bool up);

#endif							/* AD_METRICS_H */
