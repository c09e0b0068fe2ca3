/*-------------------------------------------------------------------------
 *
 * version.h
 *	  Do library and SQL objects fit each other?
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_STORE_VERSION_H
#define UT_STORE_VERSION_H

/*
 * Once a session: are the SQL objects of a version that this library serves?
 * Error 55000 when not, or when the extension is not there.
 */
extern void ut_version_check(void);

/*
 * Are they now?  *installed is the version of the SQL objects, NULL when the
 * extension is not there.
 */
extern bool ut_version_agree(char **installed);

#endif							/* UT_STORE_VERSION_H */
