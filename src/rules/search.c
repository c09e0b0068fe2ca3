/*-------------------------------------------------------------------------
 *
 * rules/search.c
 *	  Which tokens does a search find, in which order, and where does a page end?
 *
 * One criterion is met by going along an index, the others by looking at what
 * is found there.  So a page ends when it is full or when enough was looked at;
 * the next one begins behind the last token that was.
 *
 * "created" is the order of selectors, which have the time in them: no index of
 * its own is needed, and those of a project come in it too.  Imported selectors
 * are anything: they stand behind those that were made here.
 *
 * Knows no SQL text and nothing of HTTP.  Locks nothing.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/scope.h"
#include "rules/answer.h"
#include "rules/caller.h"
#include "rules/search.h"
#include "rules/validity.h"
#include "store/page.h"
#include "text/datetime.h"
#include "text/secret.h"
#include "usage/usage.h"

/* How much one call may look at: rows, and tokens whose projects are read. */
#define WORK_MAX UT_PAGE_WINDOW
#define WORK_OF_PROJECTS 5

/* Less than, and greater than, any selector. */
#define SELECTOR_FIRST ""
#define SELECTOR_LAST "~"

typedef struct Search
{
	const UtActor *actor;
	UtCriteria	criteria;
	UtPlace		place;			/* of the token that was looked at last */
	TimestampTz now;
	TimestampTz horizon;		/* expiring: until here; unused: since here */
	MemoryContext context;
	StringInfo	out;
	int			found;
	int			work;
	bool		is_full;		/* and there are more */
} Search;

/* ---- Looking at tokens ---- */

static bool
has_state(const Search *search, const UtToken *token)
{
	bool		expires = token->expires_at != UT_TIME_UNSET;
	bool		expired = expires && token->expires_at <= search->now;

	switch (search->criteria.state)
	{
		case UT_STATE_VALID:
			return !expired;
		case UT_STATE_EXPIRED:
			return expired;
		case UT_STATE_EXPIRING:
			return expires && !expired && token->expires_at <= search->horizon;
		case UT_STATE_PENDING:
			return ut_validity_of(token) == UT_VALIDITY_PENDING;
		case UT_STATE_GRACE:
			return ut_validity_of(token) == UT_VALIDITY_GRACE;
		case UT_STATE_UNUSED:
			return !expired && Max(token->seen_at, token->created_at) <= search->horizon;
		case UT_STATE_ANY:
			break;
	}
	return true;
}

/* As lower() does it that the index is made with. */
static bool
begins_with(const char *name, const char *prefix)
{
	for (; *prefix != '\0'; name++, prefix++)
	{
		if (pg_ascii_tolower((unsigned char) *name) != pg_ascii_tolower((unsigned char) *prefix))
			return false;
	}
	return true;
}

static TimestampTz
time_key(const Search *search, const UtToken *token)
{
	if (search->criteria.order == UT_ORDER_EXPIRES)
		return token->expires_at;
	return token->old_until != UT_TIME_UNSET ? token->old_until : token->activate_by;
}

/* The next page begins behind this token. */
static void
mark_place(Search *search, const UtToken *token)
{
	strlcpy(search->place.selector, token->selector, sizeof(search->place.selector));
	search->place.time = time_key(search, token);
	if (search->criteria.order != UT_ORDER_NAME)
		return;
	if (search->place.name != NULL)
		pfree(search->place.name);
	search->place.name = MemoryContextStrdup(search->context, ut_store_name_key(token->name));
}

/* All that can be said without its projects. */
static bool
is_wanted(UtToken *token, void *arg)
{
	Search	   *search = arg;
	const char *environment = ut_scope_environment(token);
	bool		wanted;

	CHECK_FOR_INTERRUPTS();
	search->work++;
	ut_usage_overlay(token);
	wanted = (!search->criteria.has_type || token->type == search->criteria.type) &&
		(search->criteria.environment == NULL || strcmp(environment, search->criteria.environment) == 0) &&
		(search->criteria.name == NULL || begins_with(token->name, search->criteria.name)) &&
		(search->criteria.selector == NULL || strncmp(token->selector, search->criteria.selector, strlen(search->criteria.selector)) == 0) &&
		has_state(search, token);
	if (!wanted)
		mark_place(search, token);
	return wanted;
}

static bool
show(UtToken *token, void *arg)
{
	Search	   *search = arg;

	search->work += WORK_OF_PROJECTS;
	if (ut_caller_manages(search->actor, &token->scope) &&
		(search->criteria.project == NULL || ut_scope_names(&token->scope, search->criteria.project)))
	{
		search->is_full = search->found == search->criteria.limit;
		if (search->is_full)
			return false;
		if (search->found++ > 0)
			appendStringInfoChar(search->out, ',');
		ut_answer_token(search->out, token, NULL);
	}
	mark_place(search, token);
	return search->work < WORK_MAX;
}

/* ---- Going through them ---- */

/* One order after the other, upwards: those that were imported, then those made here. */
static const struct
{
	const char *low;
	const char *high;
}			segments[] = {
	{SELECTOR_FIRST, UT_SELECTOR_MARKER},
	{UT_SELECTOR_MARKER "~", SELECTOR_LAST},
	{UT_SELECTOR_MARKER, UT_SELECTOR_MARKER "~"}
};

static const char *
later(const char *a, const char *b)
{
	return strcmp(a, b) > 0 ? a : b;
}

static const char *
earlier(const char *a, const char *b)
{
	return strcmp(a, b) < 0 ? a : b;
}

static bool
go_by_selector(Search *search)
{
	UtPage		page = {.walk = search->criteria.project != NULL ? UT_WALK_PROJECT : UT_WALK_ALL,
		.descending = search->criteria.descending,.bounds = search->actor->bounds,
	.value = search->criteria.project,.after = ""};
	const char *prefix = search->criteria.selector == NULL ? "" : search->criteria.selector;
	char		after[UT_SELECTOR_LEN + 1];
	bool		begun;

	strlcpy(after, search->place.selector, sizeof(after));
	begun = *after == '\0';
	for (int i = 0; i < lengthof(segments); i++)
	{
		int			at = search->criteria.descending ? lengthof(segments) - 1 - i : i;
		bool		is_here = !begun && strcmp(after, segments[at].low) >= 0 && strcmp(after, segments[at].high) < 0;

		if (!begun && !is_here)
			continue;
		page.low = later(segments[at].low, prefix);
		page.high = earlier(segments[at].high, psprintf("%s~", prefix));
		/* behind it, or before it: selectors are all of one length */
		if (is_here && search->criteria.descending)
			page.high = earlier(page.high, after);
		else if (is_here)
			page.low = later(page.low, psprintf("%s!", after));
		begun = true;
		if (strcmp(page.low, page.high) < 0 && !ut_store_visit_page(&page, is_wanted, show, search))
			return false;
	}
	return true;
}

/* Greater than any name that begins so, in whatever encoding. */
static char *
end_of_names(const char *prefix)
{
	size_t		len = strlen(prefix);
	char	   *end = palloc0(len + UT_NAME_KEY_LEN + 1);

	memcpy(end, prefix, len);
	memset(end + len, 0xFF, UT_NAME_KEY_LEN);
	return end;
}

static bool
go_by_name(Search *search)
{
	char	   *prefix = ut_store_name_key(search->criteria.name == NULL ? "" : search->criteria.name);
	UtPage		page = {.walk = search->criteria.has_type ? UT_WALK_TYPE : UT_WALK_NAME,
		.descending = search->criteria.descending,.bounds = search->actor->bounds,
		.value = search->criteria.has_type ? ut_token_type_names[search->criteria.type] : NULL,
	.low = prefix,.high = end_of_names(prefix),.after = pstrdup(search->place.selector)};

	if (search->place.name != NULL && search->criteria.descending)
		page.high = pstrdup(earlier(page.high, search->place.name));
	else if (search->place.name != NULL)
		page.low = pstrdup(later(page.low, search->place.name));
	return ut_store_visit_page(&page, is_wanted, show, search);
}

static bool
go_by_time(Search *search)
{
	UtPage		page = {.walk = search->criteria.order == UT_ORDER_EXPIRES ? UT_WALK_EXPIRY : UT_WALK_ROTATION,
		.descending = search->criteria.descending,.bounds = search->actor->bounds,
	.from = DT_NOBEGIN,.to = DT_NOEND,.after = pstrdup(search->place.selector)};

	/* what has ended before, or has not yet, is not gone through */
	if (search->criteria.order == UT_ORDER_ROTATION || search->criteria.state == UT_STATE_EXPIRING || search->criteria.state == UT_STATE_VALID)
		page.from = search->now;
	if (search->criteria.order == UT_ORDER_EXPIRES && search->criteria.state == UT_STATE_EXPIRING)
		page.to = search->horizon + 1;
	if (search->criteria.order == UT_ORDER_EXPIRES && search->criteria.state == UT_STATE_EXPIRED)
		page.to = search->now + 1;
	if (search->place.selector[0] != '\0' && search->criteria.descending)
		page.to = Min(page.to, search->place.time);
	else if (search->place.selector[0] != '\0')
		page.from = Max(page.from, search->place.time);
	return ut_store_visit_page(&page, is_wanted, show, search);
}

/* True when all were gone through. */
static bool
go(Search *search)
{
	const UtScope *bounds = search->actor->bounds;

	if (bounds != NULL && search->criteria.project != NULL && !ut_scope_names(bounds, search->criteria.project))
		return true;
	if (search->criteria.order == UT_ORDER_CREATED)
		return go_by_selector(search);
	return search->criteria.order == UT_ORDER_NAME ? go_by_name(search) : go_by_time(search);
}

/* ---- The answer ---- */

static char *
compose_place(const Search *search)
{
	const UtPlace *place = &search->place;

	if (search->criteria.order == UT_ORDER_CREATED)
		return pstrdup(place->selector);
	if (search->criteria.order == UT_ORDER_NAME)
		return psprintf("%s.%s", place->selector, place->name);
	return psprintf("%s." INT64_FORMAT, place->selector, place->time);
}

bool
ut_search_tokens(char *const *sent, const UtActor *actor, StringInfo out, UtProblem *problem)
{
	Search		search = {.actor = actor,.out = out,.context = CurrentMemoryContext};
	bool		ended;
	char		now[UT_DATETIME_LEN + 1];

	if (!ut_criteria_read(sent, actor->bounds != NULL, &search.criteria, problem))
		return false;
	search.place = search.criteria.place;
	search.now = GetCurrentTimestamp();
	search.horizon = search.now + (search.criteria.state == UT_STATE_UNUSED ? -1 : 1) * search.criteria.days * USECS_PER_DAY;
	appendStringInfoString(out, "{\"tokens\":[");
	ended = go(&search);
	ut_datetime_format(ut_clock_to_ms(search.now), now);
	appendStringInfoString(out, "],\"next\":");
	if (ended)
		appendStringInfoString(out, "null");
	else
		escape_json(out, compose_place(&search));
	appendStringInfo(out, ",\"sort\":\"%s%s\",\"now\":\"%s\"}",
					 search.criteria.descending ? "-" : "", ut_order_names[search.criteria.order], now);
	return true;
}
