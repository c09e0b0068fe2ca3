/*-------------------------------------------------------------------------
 *
 * page.h
 *	  How is a page of tokens read, along an index, and one of events?
 *
 * What a page costs does not depend on how many tokens there are: each read
 * ends after a window of rows, wanted or not.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_STORE_PAGE_H
#define UT_STORE_PAGE_H

/* Rows that are looked at in one read; within projects each takes longer. */
#define UT_PAGE_WINDOW 5000
#define UT_PAGE_WINDOW_WITHIN 1000

/* Characters of a name that the index has. */
#define UT_NAME_KEY_LEN 64

#include "base/token.h"
#include "store/store.h"

/* Along which index. */
typedef enum UtWalk
{
	UT_WALK_ALL,				/* by selector */
	UT_WALK_PROJECT,			/* those that have a project, by selector */
	UT_WALK_TYPE,				/* those of a type, by how names begin, in
								 * lower case */
	UT_WALK_NAME,				/* the same of any type */
	UT_WALK_EXPIRY,				/* those that expire, by when */
	UT_WALK_ROTATION			/* those in a rotation, by when it ends */
} UtWalk;

typedef struct UtPage
{
	UtWalk		walk;
	bool		descending;
	const char *value;			/* the type or the project; else NULL */
	const UtScope *bounds;		/* only tokens whose projects are all among
								 * these; NULL: any */
	const char *low;			/* selectors or names from here ... */
	const char *high;			/* ... to before here */
	TimestampTz from;			/* the same for times */
	TimestampTz to;
	const char *after;			/* behind this selector at the beginning of
								 * names or times; empty: none */
} UtPage;

/* Is a token, whose projects are not read yet, one to show? */
typedef bool (*UtWanted) (UtToken *token, void *arg);

/*
 * Show the tokens of a page that are wanted, with all that belongs to them, until
 * show returns false.  True when no more would come: the window was not full.
 */
extern bool ut_store_visit_page(const UtPage *page, UtWanted wanted, UtVisitor show, void *arg);

/* The name of a token as the index has it. */
extern char *ut_store_name_key(const char *name);

/*
 * Events before an id, the newest first: called with each id and, when it is of
 * that selector and that type (empty: any), the event as JSON, else NULL.
 */
typedef bool (*UtEventVisitor) (int64 id, const char *json, void *arg);
extern bool ut_store_visit_events(int64 before, const char *selector, const char *type,
								  UtEventVisitor visitor, void *arg);

/* {"environments":[...],"projects":[...]}, of the projects the first so many. */
extern char *ut_store_list_choices(int64 projects);

/* The findings of doctor(), each as JSON. */
extern char **ut_store_list_findings(int *count);

#endif							/* UT_STORE_PAGE_H */
