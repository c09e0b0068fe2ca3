/*-------------------------------------------------------------------------
 *
 * wire.h
 *	  How are the texts of HTTP taken apart?
 *
 * Pure C without postgres.h: it is fuzzed alone.  Lengths are in bytes,
 * nothing is allocated.  It knows no endpoint and no token.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_WIRE_H
#define UT_WIRE_H

#include <stdbool.h>
#include <stddef.h>

/* What a Content-Type header says of a body. */
typedef enum UtMedia
{
	UT_MEDIA_JSON,				/* application/json, UTF-8 stated or not */
	UT_MEDIA_CHARSET,			/* application/json in another charset */
	UT_MEDIA_OTHER				/* anything else, or nothing */
} UtMedia;

/*
 * Judge a Content-Type header (RFC 9110 section 8.3): type and subtype in any
 * case, optional blanks around ';', parameters as token or quoted string.
 * charset may be utf-8 or utf8 in any case (the last one stated counts).
 * A list ("application/json, text/plain"), a suffix ("application/vnd+json")
 * and malformed parameters are UT_MEDIA_OTHER.
 */
extern UtMedia ut_wire_media(const char *text, size_t len);

/* Does a Content-Encoding header leave the body as it is: empty or identity? */
extern bool ut_wire_is_identity(const char *text, size_t len);

/*
 * Undo percent-encoding (RFC 3986 section 2.1) into out, which has room for
 * len + 1 bytes; out may be text itself.  '+' stays '+'.  Returns false for a
 * '%' without two hex digits and for an encoded NUL; else *outlen is set and
 * out ends with NUL.  The result may be invalid UTF-8: the caller checks.
 */
extern bool ut_wire_unescape(const char *text, size_t len, char *out, size_t *outlen);

/* The length of the path of a request target: up to the first '?' or '#'. */
extern size_t ut_wire_path_len(const char *target, size_t len);

/*
 * Find the value of a query parameter, still percent-encoded: the text after
 * "name=" up to the next '&'.  query starts behind the '?'.  The first one
 * counts.  Returns NULL when there is none.
 */
extern const char *ut_wire_query(const char *query, size_t len,
								 const char *name, size_t *valuelen);

#endif							/* UT_WIRE_H */
