/*-------------------------------------------------------------------------
 *
 * console.h
 *	  What does the console ask for, beside what Unleash has?
 *
 * Handlers of routes; see UtHandler.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_CONSOLE_H
#define UT_CONSOLE_H

#include "http/endpoint.h"

/* A page of the tokens that the caller manages: {"tokens", "next", "sort", "now"}. */
extern bool ut_console_search(UtRequest *request, UtReply *reply, UtProblem *problem);

/*
 * A page of events, the newest first: {"events", "next"}.  Problem: a caller
 * that is bound to projects, since events are of all.
 */
extern bool ut_console_events(UtRequest *request, UtReply *reply, UtProblem *problem);

/* What doctor() finds: {"findings"}.  The same problem. */
extern bool ut_console_findings(UtRequest *request, UtReply *reply, UtProblem *problem);

/* What a new token may be given: {"environments", "projects", "maxLifetime", "writable", ...}. */
extern bool ut_console_choices(UtRequest *request, UtReply *reply, UtProblem *problem);

#endif							/* UT_CONSOLE_H */
