/*-------------------------------------------------------------------------
 *
 * encoding.h
 *	  How does text get from the server's encoding to UTF-8 and back?
 *
 * Unlike the server's own conversions these never raise: an error would quote
 * the bytes, and they may be part of a secret.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_ENCODING_H
#define UT_ENCODING_H

/*
 * Convert len bytes; the result ends with NUL and may be text itself when
 * nothing is to be done.  NULL when the text has no such form.  A database
 * without an encoding (SQL_ASCII) keeps bytes as they are.
 */
extern char *ut_encoding_to_utf8(const char *text, size_t len, size_t *utf8_len);
extern char *ut_encoding_from_utf8(const char *utf8, size_t len);

#endif							/* UT_ENCODING_H */
