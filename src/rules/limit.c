/*-------------------------------------------------------------------------
 *
 * rules/limit.c
 *	  How often may a token be used, and from where?
 *
 * What a body says of it, what the settings say of tokens that say nothing, and
 * what follows for a use.
 *
 * Knows no table and nothing of HTTP, nor how uses are counted.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/guc.h"

#include "base/compat.h"
#include "rules/field.h"
#include "rules/limit.h"

#define MAX_NETWORKS 100		/* elements of allowedIps */
#define BURST " burst "			/* between the two parts of a setting */

/* ---- What a body says ---- */

/* The members of rateLimit; burst may be missing. */
typedef struct Member
{
	const char *name;
	const char *path;
	int			most;
} Member;

static const Member members[] = {
	{"limit", "/body/rateLimit/limit", UT_RATE_LIMIT_MAX},
	{"period", "/body/rateLimit/period", UT_RATE_PERIOD_MAX},
	{"burst", "/body/rateLimit/burst", UT_RATE_BURST_MAX},
};

/* *number stays as it is when the member is not there. */
static bool
read_member(JsonbContainer *object, const Member *member, int *number, int *found,
			UtProblem *problem)
{
	JsonbValue *value = getKeyJsonValueFromContainer(object, member->name, strlen(member->name), NULL);
	int64		whole;

	if (value == NULL)
		return true;
	(*found)++;
	if (ut_field_whole(value, member->most, &whole) && whole >= 1)
	{
		*number = (int) whole;
		return true;
	}
	return ut_problem_set(problem, UT_PROBLEM_RATE_LIMIT, member->path,
						  "The field %s of rateLimit must be a whole number from 1 to %d. You sent %s.",
						  member->name, member->most, ut_field_show_value(value));
}

/* Without a burst the whole limit may come at once. */
bool
ut_limit_read_rate(Jsonb *body, UtRate *rate, bool *given, UtProblem *problem)
{
	JsonbValue *value = ut_field_find(body, "rateLimit");
	int			numbers[lengthof(members)] = {0};
	int			found = 0;

	memset(rate, 0, sizeof(UtRate));
	*given = value != NULL;
	if (value == NULL || value->type == jbvNull)
		return true;
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		return ut_problem_set(problem, UT_PROBLEM_RATE_LIMIT, "/body/rateLimit",
							  "The field rateLimit must be an object or null. You sent %s.",
							  ut_field_show_value(value));
	for (int i = 0; i < (int) lengthof(members); i++)
	{
		if (!read_member(value->val.binary.data, &members[i], &numbers[i], &found, problem))
			return false;
	}
	if (numbers[0] == 0 || numbers[1] == 0)
		return ut_problem_set(problem, UT_PROBLEM_RATE_LIMIT, "/body/rateLimit",
							  "The field rateLimit lacks the %s.", numbers[0] == 0 ? "limit" : "period");
	if (found != JsonContainerSize(value->val.binary.data))
		return ut_problem_set(problem, UT_PROBLEM_RATE_LIMIT, "/body/rateLimit",
							  "The field rateLimit holds something else than limit, period and burst.");
	rate->limit = numbers[0];
	rate->period = numbers[1];
	rate->burst = numbers[2] != 0 ? numbers[2] : Min(rate->limit, UT_RATE_BURST_MAX);
	return true;
}

static bool
read_network(JsonbContainer *array, int i, UtNetwork *network, UtProblem *problem)
{
	JsonbValue *value = getIthJsonbValueFromContainer(array, i);

	if (value->type == jbvString &&
		ut_address_parse_network(value->val.string.val, value->val.string.len, network))
		return true;
	return ut_problem_set(problem, UT_PROBLEM_ALLOWED_IPS, psprintf("/body/allowedIps/%d", i),
						  "Each element of allowedIps must be an address, or a network without bits behind its prefix. You sent %s.",
						  ut_field_show_value(value));
}

bool
ut_limit_read_sources(Jsonb *body, UtSources *sources, bool *given, UtProblem *problem)
{
	JsonbValue *value = ut_field_find(body, "allowedIps");
	JsonbContainer *array;

	memset(sources, 0, sizeof(UtSources));
	*given = value != NULL;
	if (value == NULL || value->type == jbvNull)
		return true;
	if (!ut_field_is_array(value))
		return ut_problem_set(problem, UT_PROBLEM_ALLOWED_IPS, "/body/allowedIps",
							  "The field allowedIps must be an array of strings or null. You sent %s.",
							  ut_field_show_value(value));
	array = value->val.binary.data;
	if (JsonContainerSize(array) < 1 || JsonContainerSize(array) > MAX_NETWORKS)
		return ut_problem_set(problem, UT_PROBLEM_ALLOWED_IPS, "/body/allowedIps",
							  "The field allowedIps must have 1 to %d elements. You sent %u.",
							  MAX_NETWORKS, JsonContainerSize(array));
	sources->listed = true;
	sources->count = (int) JsonContainerSize(array);
	sources->networks = palloc(sources->count * sizeof(UtNetwork));
	for (int i = 0; i < sources->count; i++)
	{
		if (!read_network(array, i, &sources->networks[i], problem))
			return false;
	}
	return true;
}

/* ---- What the settings say ---- */

/* By type; those of tokens that have no limit of their own. */
static UtRate defaults[UT_TOKEN_TYPES];
static char *settings[UT_TOKEN_TYPES];

/* A whole number from 1 on in at most 7 digits; *end is what stands behind it. */
static bool
read_number(const char *digits, int most, int *number, const char **end)
{
	size_t		len = strspn(digits, "0123456789");
	long		value = len >= 1 && len <= 7 ? strtol(digits, NULL, 10) : 0;

	*end = digits + len;
	*number = (int) value;
	return value >= 1 && value <= most;
}

/* "<limit>/<period>" or "<limit>/<period> burst <burst>"; false when it is neither. */
static bool
parse_setting(const char *setting, UtRate *rate)
{
	const char *end;
	const char *burst;
	char		period[32];

	if (!read_number(setting, UT_RATE_LIMIT_MAX, &rate->limit, &end) || *end != '/')
		return false;
	burst = strchr(end, ' ');
	strlcpy(period, end + 1, burst == NULL ? sizeof(period) : Min(sizeof(period), (size_t) (burst - end)));
	if (!parse_int(period, &rate->period, GUC_UNIT_S, NULL) ||
		rate->period < 1 || rate->period > UT_RATE_PERIOD_MAX)
		return false;
	rate->burst = Min(rate->limit, UT_RATE_BURST_MAX);
	return burst == NULL ||
		(strncmp(burst, BURST, strlen(BURST)) == 0 &&
		 read_number(burst + strlen(BURST), UT_RATE_BURST_MAX, &rate->burst, &end) && *end == '\0');
}

static bool
check_setting(char **value, void **extra, GucSource source)
{
	UtRate	   *rate = ut_guc_malloc(sizeof(UtRate));

	if (rate == NULL)
		return false;
	memset(rate, 0, sizeof(UtRate));
	*extra = rate;
	if (**value == '\0' || parse_setting(*value, rate))
		return true;
	GUC_check_errdetail("Write how many uses may come in which time, such as \"600/1min\" or \"600/1min burst 50\": 1 to %d uses in 1s to 1d, 1 to %d at once.",
						UT_RATE_LIMIT_MAX, UT_RATE_BURST_MAX);
	return false;
}

#define ASSIGN(name, type) \
static void \
name(const char *value, void *extra) \
{ \
	defaults[type] = *(UtRate *) extra; \
}

ASSIGN(assign_client, UT_TOKEN_CLIENT)
ASSIGN(assign_backend, UT_TOKEN_BACKEND)
ASSIGN(assign_frontend, UT_TOKEN_FRONTEND)
ASSIGN(assign_admin, UT_TOKEN_ADMIN)

void
ut_limit_init(void)
{
	static const struct
	{
		const char *name;
		const char *meaning;
		GucStringAssignHook assign;
	}			known[UT_TOKEN_TYPES] = {
		[UT_TOKEN_CLIENT] = {"unleash_tokens.rate_limit_client", "Sets how often a token of type client may be used.", assign_client},
		[UT_TOKEN_BACKEND] = {"unleash_tokens.rate_limit_backend", "Sets how often a token of type backend may be used.", assign_backend},
		[UT_TOKEN_FRONTEND] = {"unleash_tokens.rate_limit_frontend", "Sets how often a token of type frontend may be used.", assign_frontend},
		[UT_TOKEN_ADMIN] = {"unleash_tokens.rate_limit_admin", "Sets how often a token of type admin may be used.", assign_admin},
	};

	for (int i = 0; i < UT_TOKEN_TYPES; i++)
		DefineCustomStringVariable(known[i].name, known[i].meaning,
								   "Uses and a time, such as 600/1min, with the most at once behind \"burst\"; empty: as often as it likes. A limit of its own goes before.",
								   &settings[i], "", PGC_SUSET, 0,
								   check_setting, known[i].assign, NULL);
}

/* ---- What follows for a use ---- */

bool
ut_limit_allows(const UtSources *sources, const uint8 *address)
{
	if (!sources->listed)
		return true;
	for (int i = 0; address != NULL && i < sources->count; i++)
	{
		if (ut_address_is_in(address, &sources->networks[i]))
			return true;
	}
	return false;
}

static bool
refuse(const UtRateState *state, UtProblem *problem)
{
	return ut_problem_set(problem, UT_PROBLEM_RATE_EXCEEDED, NULL,
						  "At most %d uses pass at once and %d in %d seconds; one more passes in %d seconds.",
						  state->rate.burst, state->rate.limit, state->rate.period, state->seconds);
}

/* What cannot be counted does not pass: somebody relies on the limit. */
bool
ut_limit_take(const UtToken *token, UtRateState *state, UtProblem *problem)
{
	const UtRate *rate = token->rate.limit != 0 ? &token->rate : &defaults[token->type];

	state->rate.limit = 0;
	if (rate->limit == 0)
		return true;
	state->policy = token->rate.limit != 0 ? "token" : ut_token_type_names[token->type];
	switch (ut_rate_take(token->selector, rate, state))
	{
		case UT_RATE_PASSED:
			return true;
		case UT_RATE_REFUSED:
			return refuse(state, problem);
		case UT_RATE_FULL:
			state->rate.limit = 0;
			return ut_problem_set(problem, UT_PROBLEM_RATE_UNCOUNTED, NULL,
								  "There is no room for another token now.");
		case UT_RATE_UNCOUNTED:
			state->rate.limit = 0;
			return ut_problem_set(problem, UT_PROBLEM_RATE_UNCOUNTED, NULL,
								  "The library is not in shared_preload_libraries.");
	}
	pg_unreachable();
}
