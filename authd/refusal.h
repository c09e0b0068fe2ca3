/*-------------------------------------------------------------------------
 *
 * refusal.h
 *	  What does authd say of itself, without the database?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef AD_REFUSAL_H
#define AD_REFUSAL_H

#include "authd.h"

/*
 * Set an answer of 400, 413 or 503 (its body is in X-Refusal), in the words of http/nginx-common.conf.
 * limit is what a body may have, for 413.
 */
extern void ad_refusal_set(AdReply *reply, int status, size_t limit);

#endif							/* AD_REFUSAL_H */
