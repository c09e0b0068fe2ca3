/*-------------------------------------------------------------------------
 *
 * log.h
 *	  What is said to the operator?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef AD_LOG_H
#define AD_LOG_H

#include <stddef.h>

/* A line on standard error.  Nothing of a request may be in it. */
extern void ad_log(const char *format,...) __attribute__((format(printf, 1, 2)));

/* A text to be freed; NULL without memory.  Its length goes to *len, unless that is NULL. */
extern char *ad_format(size_t *len, const char *format,...) __attribute__((format(printf, 2, 3)));

#endif							/* AD_LOG_H */
