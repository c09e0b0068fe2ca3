/*-------------------------------------------------------------------------
 *
 * text.h
 *	  What of a request's text may go to the database?
 *
 * The same rules as http/nginx-common.conf has, for whoever asks without nginx.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef AD_TEXT_H
#define AD_TEXT_H

#include "authd.h"

/* Well-formed UTF-8 without control characters but the tab? */
extern bool ad_text_is_clean(const char *text, size_t len);

/* The same for the target of a request, which has no blanks either. */
extern bool ad_text_is_target(const char *text, size_t len);

/* Where the path begins in a target of absolute form, as in http://localhost/auth; else all of it. */
extern const char *ad_text_origin(const char *target);

/*
 * The key in the header Authorization: what stands behind "Bearer", else all of
 * it; "-", which no token has, for what cannot be a key.  It may point into
 * text.
 */
extern const char *ad_text_key(const char *text, size_t len, size_t *keylen);

#endif							/* AD_TEXT_H */
