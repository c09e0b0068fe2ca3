/*-------------------------------------------------------------------------
 *
 * rules/criteria.c
 *	  What is searched for, and in which order?
 *
 * Knows no table and nothing of HTTP but the names of parameters.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "rules/criteria.h"
#include "rules/field.h"
#include "rules/request.h"
#include "store/page.h"

#define LIMIT_DEFAULT 50
#define DAYS_DEFAULT 30
#define DAYS_MAX 3650

const char *const ut_criterion_names[UT_CRITERIA] = {
	"limit", "after", "sort", "type", "project", "environment", "state", "days", "name", "selector"
};

static const char *const state_names[] = {
	"", "valid", "expiring", "expired", "pending", "grace", "unused"
};

const char *const ut_order_names[UT_ORDERS] = {"created", "name", "expires", "rotation"};

static bool
read_digits(const char *sent, int most, int *number)
{
	*number = 0;
	if (*sent == '\0' || strlen(sent) > 5)
		return false;
	for (const char *digit = sent; *digit != '\0'; digit++)
	{
		if (*digit < '0' || *digit > '9')
			return false;
		*number = *number * 10 + (*digit - '0');
	}
	return *number >= 1 && *number <= most;
}

static bool
refuse(UtCriterion criterion, const char *sent, const char *allowed, UtProblem *problem)
{
	return ut_problem_set(problem, UT_PROBLEM_SEARCH, NULL,
						  "The query parameter %s must be %s. You sent %s.",
						  ut_criterion_names[criterion], allowed, ut_field_show(sent, strlen(sent)));
}

static bool
read_number(const char *sent, UtCriterion criterion, int most, int usual, int *number, UtProblem *problem)
{
	*number = usual;
	return sent == NULL || read_digits(sent, most, number) ||
		refuse(criterion, sent, psprintf("a whole number from 1 to %d", most), problem);
}

bool
ut_criteria_read_limit(const char *sent, int *limit, UtProblem *problem)
{
	return read_number(sent, UT_CRITERION_LIMIT, UT_SEARCH_LIMIT_MAX, LIMIT_DEFAULT, limit, problem);
}

/* The place of a name in a list, or -1. */
static int
find_name(const char *name, const char *const *names, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (strcmp(name, names[i]) == 0)
			return i;
	}
	return -1;
}

static bool
read_state(const char *sent, UtCriteria *criteria, UtProblem *problem)
{
	int			state = sent == NULL ? UT_STATE_ANY : find_name(sent, state_names, lengthof(state_names));

	if (sent != NULL && state <= UT_STATE_ANY)
		return refuse(UT_CRITERION_STATE, sent, "valid, expiring, expired, pending, grace or unused", problem);
	criteria->state = (UtState) state;
	return true;
}

/* The order in which an index finds what is looked for; within projects there is but one. */
static void
choose_order(UtCriteria *criteria, bool is_bound)
{
	bool		is_named = criteria->name != NULL;

	if (criteria->selector != NULL || is_bound)
		criteria->order = UT_ORDER_CREATED;
	else if (!is_named && (criteria->state == UT_STATE_EXPIRING || criteria->state == UT_STATE_EXPIRED))
		criteria->order = UT_ORDER_EXPIRES;
	else if (!is_named && (criteria->state == UT_STATE_PENDING || criteria->state == UT_STATE_GRACE))
		criteria->order = UT_ORDER_ROTATION;
	else if (is_named || (criteria->has_type && criteria->project == NULL))
		criteria->order = UT_ORDER_NAME;
	criteria->descending = criteria->order == UT_ORDER_CREATED ||
		(criteria->order == UT_ORDER_EXPIRES && criteria->state == UT_STATE_EXPIRED);
}

static bool
read_order(const char *sent, bool is_bound, UtCriteria *criteria, UtProblem *problem)
{
	int			order;

	choose_order(criteria, is_bound);
	if (sent == NULL)
		return true;
	criteria->descending = *sent == '-';
	order = find_name(sent + criteria->descending, ut_order_names, lengthof(ut_order_names));
	if (order < 0)
		return refuse(UT_CRITERION_SORT, sent,
					  "created, name, expires or rotation, with - in front for the other direction", problem);
	criteria->order = (UtOrder) order;
	return true;
}

static bool
read_type(const char *sent, UtCriteria *criteria, UtProblem *problem)
{
	criteria->has_type = sent != NULL;
	return sent == NULL || ut_request_type(sent, &criteria->type) ||
		refuse(UT_CRITERION_TYPE, sent, "client, backend, frontend or admin", problem);
}

/* What may be the beginning of a selector. */
static bool
read_selector(const char *sent, UtCriteria *criteria, UtProblem *problem)
{
	criteria->selector = sent;
	if (sent == NULL)
		return true;
	if (*sent != '\0' && strlen(sent) <= UT_SELECTOR_LEN && strspn(sent, UT_SELECTOR_CHARACTERS) == strlen(sent))
		return true;
	return refuse(UT_CRITERION_SELECTOR, sent, "1 to 22 of A-Z, a-z, 0-9, _ and -", problem);
}

/* A time or a name stands behind the selector. */
static bool
read_place_key(const char *key, UtCriteria *criteria)
{
	char	   *end;

	if (criteria->order == UT_ORDER_CREATED)
		return *key == '\0';
	if (*key++ != '.')
		return false;
	if (criteria->order == UT_ORDER_NAME)
	{
		criteria->place.name = ut_store_name_key(key);
		return true;
	}
	errno = 0;
	criteria->place.time = strtoi64(key, &end, 10);
	return errno == 0 && end != key && *end == '\0' && !TIMESTAMP_NOT_FINITE(criteria->place.time);
}

static bool
read_place(const char *sent, UtCriteria *criteria, UtProblem *problem)
{
	if (sent == NULL)
		return true;
	if (strspn(sent, UT_SELECTOR_CHARACTERS) == UT_SELECTOR_LEN && read_place_key(sent + UT_SELECTOR_LEN, criteria))
	{
		memcpy(criteria->place.selector, sent, UT_SELECTOR_LEN);
		return true;
	}
	return refuse(UT_CRITERION_AFTER, sent, "\"next\" of a page in the same order", problem);
}

bool
ut_criteria_read(char *const *sent, bool is_bound, UtCriteria *criteria, UtProblem *problem)
{
	memset(criteria, 0, sizeof(UtCriteria));
	criteria->project = sent[UT_CRITERION_PROJECT];
	criteria->environment = sent[UT_CRITERION_ENVIRONMENT];
	criteria->name = sent[UT_CRITERION_NAME];
	return ut_criteria_read_limit(sent[UT_CRITERION_LIMIT], &criteria->limit, problem) &&
		read_type(sent[UT_CRITERION_TYPE], criteria, problem) &&
		read_state(sent[UT_CRITERION_STATE], criteria, problem) &&
		read_number(sent[UT_CRITERION_DAYS], UT_CRITERION_DAYS, DAYS_MAX, DAYS_DEFAULT, &criteria->days, problem) &&
		read_selector(sent[UT_CRITERION_SELECTOR], criteria, problem) &&
		read_order(sent[UT_CRITERION_SORT], is_bound, criteria, problem) &&
		read_place(sent[UT_CRITERION_AFTER], criteria, problem);
}
