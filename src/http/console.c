/*-------------------------------------------------------------------------
 *
 * console.c
 *	  What does the console ask for, beside what Unleash has?
 *
 * Knows no table of the database and no header.  Locks nothing.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/json.h"

#include "base/scope.h"
#include "http/console.h"
#include "http/query.h"
#include "rules/caller.h"
#include "rules/field.h"
#include "rules/lifetime.h"
#include "rules/search.h"
#include "store/page.h"
#include "usage/usage.h"

/* Projects to choose from: more are no help, and any may be typed. */
#define CHOICES_MAX 1000

bool
ut_console_search(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	UtActor		actor = ut_caller_token_actor(&request->caller);
	char	   *criteria[UT_CRITERIA] = {NULL};

	return ut_query_read(request->target, UT_PROBLEM_SEARCH, ut_criterion_names, UT_CRITERIA, -1, criteria, problem) &&
		ut_search_tokens(criteria, &actor, &reply->body, problem);
}

/* ---- Events ---- */

enum
{
	PARAMETER_LIMIT, PARAMETER_AFTER, PARAMETER_SELECTOR, PARAMETER_TYPE, PARAMETERS
};

static const char *const parameter_names[PARAMETERS] = {"limit", "after", "selector", "type"};

typedef struct EventPage
{
	StringInfo	out;
	int			limit;
	int			found;
	int64		before;			/* the next page begins there */
} EventPage;

static bool
read_event_page(char *const *values, EventPage *page, UtProblem *problem)
{
	const char *after = values[PARAMETER_AFTER];
	char	   *end;

	page->before = PG_INT64_MAX;
	if (!ut_criteria_read_limit(values[PARAMETER_LIMIT], &page->limit, problem))
		return false;
	if (after == NULL)
		return true;
	errno = 0;
	page->before = strtoi64(after, &end, 10);
	if (errno == 0 && *end == '\0' && page->before > 0)
		return true;
	return ut_problem_set(problem, UT_PROBLEM_SEARCH, NULL,
						  "The query parameter after must be \"next\" of a page of events. You sent %s.",
						  ut_field_show(after, strlen(after)));
}

static bool
append_event(int64 id, const char *json, void *arg)
{
	EventPage  *page = arg;

	if (json != NULL && page->found == page->limit)
		return false;
	page->before = id;
	if (json == NULL)
		return true;
	if (page->found++ > 0)
		appendStringInfoChar(page->out, ',');
	appendStringInfoString(page->out, json);
	return true;
}

bool
ut_console_events(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	char	   *values[PARAMETERS] = {NULL};
	EventPage	page = {.out = &reply->body};
	bool		ended;

	if (!ut_query_read(request->target, UT_PROBLEM_SEARCH, parameter_names, PARAMETERS, -1, values, problem) ||
		!read_event_page(values, &page, problem))
		return false;
	appendStringInfoString(page.out, "{\"events\":[");
	ended = ut_store_visit_events(page.before, values[PARAMETER_SELECTOR] == NULL ? "" : values[PARAMETER_SELECTOR],
								  values[PARAMETER_TYPE] == NULL ? "" : values[PARAMETER_TYPE], append_event, &page);
	appendStringInfoString(page.out, "],\"next\":");
	if (ended)
		appendStringInfoString(page.out, "null}");
	else
		appendStringInfo(page.out, "\"" INT64_FORMAT "\"}", page.before);
	return true;
}

/* ---- The rest ---- */

bool
ut_console_findings(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	int			count;
	char	  **findings = ut_store_list_findings(&count);

	appendStringInfoString(&reply->body, "{\"findings\":[");
	for (int i = 0; i < count; i++)
		appendStringInfo(&reply->body, "%s%s", i > 0 ? "," : "", findings[i]);
	appendStringInfoString(&reply->body, "]}");
	return true;
}

/* Whoever is bound to projects chooses from those. */
static void
append_managed(StringInfo out, const UtScope *scope)
{
	appendStringInfoString(out, ",\"manages\":");
	if (scope->all)
	{
		appendStringInfoString(out, "null");
		return;
	}
	for (int i = 0; i < scope->count; i++)
	{
		appendStringInfoChar(out, i > 0 ? ',' : '[');
		escape_json(out, scope->ids[i]);
	}
	appendStringInfoString(out, scope->count > 0 ? "]" : "[]");
}

bool
ut_console_choices(UtRequest *request, UtReply *reply, UtProblem *problem)
{
	StringInfo	out = &reply->body;
	const UtToken *caller = &request->caller;
	UtProblem	unused;

	appendStringInfoString(out, "{\"tokenName\":");
	escape_json(out, caller->name);
	appendStringInfo(out, ",\"selector\":\"%s\"", caller->selector);
	append_managed(out, &caller->scope);
	appendStringInfo(out, ",\"writable\":%s,\"rotation\":%s,\"version\":\"" UT_VERSION "\",\"maxLifetime\":",
					 ut_endpoint_can_write(&unused) ? "true" : "false", ut_usage_is_noted() ? "true" : "false");
	if (ut_max_lifetime > 0)
		appendStringInfo(out, "%d", ut_max_lifetime);
	else
		appendStringInfoString(out, "null");
	appendStringInfo(out, ",\"choices\":%s}", ut_store_list_choices(caller->scope.all ? CHOICES_MAX : 0));
	return true;
}
