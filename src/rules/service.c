/*-------------------------------------------------------------------------
 *
 * service.c
 *	  What happens when a token is made, changed, deleted or checked?
 *
 * Knows no SQL text and nothing of HTTP.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"

#include "rules/answer.h"
#include "rules/caller.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/encoding.h"
#include "base/scope.h"
#include "rules/field.h"
#include "rules/lifetime.h"
#include "rules/limit.h"
#include "rules/mint.h"
#include "text/secret.h"
#include "rules/service.h"
#include "rules/validity.h"
#include "store/store.h"
#include "usage/usage.h"

int			ut_max_tokens = 0;

#define MAX_ATTEMPTS 10			/* then it is not chance that a token cannot
								 * be written */

static bool check_create(const UtCreate *create, const UtActor *actor, UtProblem *problem);

bool
ut_service_create(const UtCreate *create, const UtActor *actor,
				  UtToken *token, char **secret, UtProblem *problem)
{
	int			attempts = 0;

	ut_mint_token(create, token);
	if (!ut_caller_require_bounds(actor, &create->scope, problem) ||
		!ut_lifetime_apply(token, problem) || !check_create(create, actor, problem))
		return false;
	/* two selectors are equal once in 2^65 of the same millisecond */
	do
	{
		CHECK_FOR_INTERRUPTS();
		ut_store_expect(attempts++ < MAX_ATTEMPTS, true);
		*secret = ut_mint_secret(token);
	} while (!ut_store_insert(token, actor, ut_answer_event_data(token)));
	return true;
}

bool
ut_service_lock_environment(const char *name, UtProblem *problem)
{
	if (ut_store_lock_environment(name))
		return true;
	return ut_problem_set(problem, UT_PROBLEM_ENVIRONMENT_UNKNOWN, "/body/environment",
						  "There is no environment %s.", ut_field_show(name, strlen(name)));
}

bool
ut_service_lock_projects(const UtScope *scope, int *unknown, UtProblem *problem)
{
	*unknown = ut_store_lock_projects(scope);
	if (*unknown < 0)
		return true;
	return ut_problem_set(problem, UT_PROBLEM_PROJECT_UNKNOWN, "/body/projects",
						  "There is no project %s.",
						  ut_field_show(scope->ids[*unknown], strlen(scope->ids[*unknown])));
}

/* What the tables say against a request, in the documented order. */
static bool
check_create(const UtCreate *create, const UtActor *actor, UtProblem *problem)
{
	int			unknown;

	if (create->environment != NULL && !ut_service_lock_environment(create->environment, problem))
		return false;
	if (ut_max_tokens > 0 && !ut_store_is_below(ut_max_tokens))
		return actor->bounds != NULL ?
			ut_problem_set(problem, UT_PROBLEM_LIMIT, NULL, "No more tokens are allowed.") :
			ut_problem_set(problem, UT_PROBLEM_LIMIT, NULL,
						   "At most %d tokens are allowed.", ut_max_tokens);
	return create->scope.all || ut_service_lock_projects(&create->scope, &unknown, problem);
}

/* What can be said of a secret without a table. */
typedef struct Parsed
{
	UtSecretKind kind;
	char	   *selector;		/* NULL for V1 and REFUSED */
	uint8		verifier[UT_VERIFIER_LEN];
} Parsed;

static void
parse_secret(const char *secret, size_t len, Parsed *parsed)
{
	const char *selector = NULL;

	secret = len <= UT_SECRET_MAX ? ut_encoding_to_utf8(secret, len, &len) : NULL;
	parsed->kind = secret == NULL ? UT_SECRET_REFUSED : ut_secret_parse(secret, len, &selector);
	parsed->selector = selector == NULL ? NULL : pnstrdup(selector, UT_SELECTOR_LEN);
	if (parsed->kind != UT_SECRET_REFUSED)
		ut_crypto_verifier(secret, len, parsed->verifier);
}

/*
 * What becomes of a secret, given the token that was found, if any, and where
 * the secret comes from, if that is known.
 */
static UtVerdict
judge(const Parsed *parsed, bool found, UtToken *token, const uint8 *address)
{
	/* compared also when nothing was found, to take the same time */
	if (!(ut_validity_accepts(token, parsed->verifier) & found))
		return UT_VERDICT_UNKNOWN;
	if (token->expires_at != UT_TIME_UNSET && token->expires_at <= GetCurrentTimestamp())
		return UT_VERDICT_EXPIRED;
	if (ut_scope_is_empty(&token->scope))
		return UT_VERDICT_SCOPELESS;
	if (!ut_limit_allows(&token->sources, address))
		return UT_VERDICT_ELSEWHERE;
	return UT_VERDICT_VALID;
}

/* The bearer hears what he would of a token that is not there; the operator more. */
static void
report_address(const UtToken *token, const uint8 *address)
{
	UtNetwork	network = {.bits = 8 * UT_ADDRESS_LEN};
	char		shown[UT_NETWORK_SIZE] = "an unknown address";

	if (address != NULL)
	{
		memcpy(network.bytes, address, UT_ADDRESS_LEN);
		ut_address_format_network(&network, shown);
	}
	ereport(LOG_SERVER_ONLY,
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
			 errmsg("token %s was refused from %s", token->selector, shown),
			 errdetail("Its allowedIps do not have that address."),
			 errhidestmt(true), errhidecontext(true)));
}

bool
ut_service_validate(const char *secret, size_t len, UtToken *token)
{
	return ut_service_validate_from(secret, len, NULL, token);
}

bool
ut_service_validate_from(const char *secret, size_t len, const uint8 *address, UtToken *token)
{
	Parsed		parsed;
	UtVerdict	verdict = UT_VERDICT_MALFORMED;
	bool		found;

	parse_secret(secret, len, &parsed);
	if (parsed.kind != UT_SECRET_REFUSED)
	{
		memset(token, 0, sizeof(UtToken));
		if (parsed.kind == UT_SECRET_V1)
			found = ut_store_find_by_verifier(parsed.verifier, token);
		else
			found = ut_store_find(parsed.selector, token);
		verdict = judge(&parsed, found, token, address);
	}
	ut_usage_count(verdict, token);
	if (verdict == UT_VERDICT_ELSEWHERE)
		report_address(token, address);
	return verdict == UT_VERDICT_VALID;
}

void
ut_service_validate_all(char **secrets, int count, bool *valid, UtToken *tokens)
{
	Parsed	   *parsed = palloc_extended(Max(count, 1) * sizeof(Parsed), MCXT_ALLOC_HUGE);
	char	  **selectors = palloc(Max(count, 1) * sizeof(char *));
	const uint8 **verifiers = palloc0(Max(count, 1) * sizeof(uint8 *));
	int			current = 0;
	int			legacy = 0;

	for (int i = 0; i < count; i++)
	{
		parsed[i].kind = UT_SECRET_REFUSED;
		parsed[i].selector = NULL;
		if (secrets[i] != NULL)
			parse_secret(secrets[i], strlen(secrets[i]), &parsed[i]);
		selectors[i] = parsed[i].selector;
		valid[i] = false;
		if (parsed[i].selector != NULL)
			current++;
		else if (parsed[i].kind == UT_SECRET_V1)
		{
			verifiers[i] = parsed[i].verifier;
			legacy++;
		}
	}
	/* what is no secret is refused without a look at a table */
	if (current > 0)
		ut_store_find_many(selectors, count, valid, tokens);
	if (legacy > 0)
		ut_store_find_many_by_verifier(verifiers, count, valid, tokens);
	for (int i = 0; i < count; i++)
	{
		UtVerdict	verdict = UT_VERDICT_MALFORMED;

		if (valid[i])
			verdict = judge(&parsed[i], true, &tokens[i], NULL);
		else if (parsed[i].kind != UT_SECRET_REFUSED)
			verdict = UT_VERDICT_UNKNOWN;
		valid[i] = verdict == UT_VERDICT_VALID;
		ut_usage_count(verdict, &tokens[i]);
	}
}

/* A list in the making: as text, or without a detour through it. */
typedef struct Listing
{
	const UtSelection *wanted;
	StringInfo	out;
	JsonbParseState *state;
	size_t		size;
} Listing;

/* What the store finds by a project alone may reach further, or have another name. */
static bool
is_wanted(const UtToken *token, const UtSelection *wanted)
{
	return ut_caller_manages(wanted->actor, &token->scope) &&
		(wanted->project == NULL || ut_scope_names(&token->scope, wanted->project)) &&
		(wanted->name == NULL || strcmp(token->name, wanted->name) == 0 ||
		 strcmp(token->selector, wanted->name) == 0);
}

static bool
append_listed(UtToken *token, void *arg)
{
	Listing    *listing = arg;

	CHECK_FOR_INTERRUPTS();
	if (!is_wanted(token, listing->wanted))
		return true;
	ut_usage_overlay(token);
	if (listing->out->data[listing->out->len - 1] != '[')
		appendStringInfoChar(listing->out, ',');
	ut_answer_token(listing->out, token, NULL);
	listing->size = listing->out->len;
	return listing->size <= UT_LIST_MAX;
}

static bool
add_listed(UtToken *token, void *arg)
{
	Listing    *listing = arg;

	CHECK_FOR_INTERRUPTS();
	if (!is_wanted(token, listing->wanted))
		return true;
	ut_usage_overlay(token);
	listing->size += ut_answer_add_listed(&listing->state, token);
	return listing->size <= UT_LIST_MAX;
}

static bool
check_size(const Listing *listing, UtProblem *problem)
{
	return listing->size <= UT_LIST_MAX ||
		ut_problem_set(problem, UT_PROBLEM_LIST_TOO_LARGE, NULL,
					   "The list would have more than %d bytes.", UT_LIST_MAX);
}

/*
 * For an actor with bounds only tokens within his projects are looked at, also
 * when a name is asked for: how many others there are, and what they reach,
 * costs no time.
 */
static void
visit(const UtSelection *wanted, bool keep, UtVisitor visitor, Listing *listing)
{
	listing->wanted = wanted;
	if (wanted->actor->bounds != NULL)
		ut_store_visit_within(wanted->actor->bounds, keep, visitor, listing);
	else if (wanted->project != NULL)
		ut_store_visit_project(wanted->project, keep, visitor, listing);
	else
		ut_store_visit(wanted->name, keep, visitor, listing);
}

bool
ut_service_list(const UtSelection *wanted, StringInfo out, UtProblem *problem)
{
	Listing		listing = {.out = out};

	appendStringInfoString(out, "{\"tokens\":[");
	visit(wanted, false, append_listed, &listing);
	appendStringInfoString(out, "]}");
	return check_size(&listing, problem);
}

bool
ut_service_list_jsonb(const UtSelection *wanted, Jsonb **list, UtProblem *problem)
{
	Listing		listing = {0};

	ut_answer_begin_list(&listing.state);
	visit(wanted, true, add_listed, &listing);
	if (!check_size(&listing, problem))
		return false;
	*list = ut_answer_end_list(&listing.state);
	return true;
}

/* ut_store_find or ut_store_lock */
typedef bool (*Look) (const char *selector, UtToken *token);

/*
 * A token that the actor does not manage is neither read nor locked: what it is
 * takes no time, and who holds it is not waited for.
 */
static bool
look_managed(const char *selector, const UtActor *actor, Look look, UtToken *token)
{
	return (actor->bounds == NULL || ut_store_is_within(selector, actor->bounds)) &&
		look(selector, token) && ut_caller_manages(actor, &token->scope);
}

/* A text may look like a selector and be an imported secret: both are tried. */
static bool
look_up(const char *reference, const UtActor *actor, Look look, UtToken *token)
{
	Parsed		parsed;

	if (ut_secret_is_selector(reference, strlen(reference)) &&
		look_managed(reference, actor, look, token))
		return true;
	parse_secret(reference, strlen(reference), &parsed);
	if (parsed.kind == UT_SECRET_REFUSED)
		return false;
	if (parsed.kind == UT_SECRET_V1)
	{
		if (!ut_store_find_by_verifier(parsed.verifier, token))
			return false;
		parsed.selector = token->selector;
	}
	return look_managed(parsed.selector, actor, look, token) &&
		ut_validity_accepts(token, parsed.verifier);
}

bool
ut_service_find(const char *reference, const UtActor *actor, UtToken *token)
{
	return look_up(reference, actor, ut_store_find, token);
}

/*
 * Lock the token that a selector or a full secret names, and show when it was
 * used as far as that is known.
 */
static bool
lock_referenced(const char *reference, const UtActor *actor, UtToken *token)
{
	bool		found = look_up(reference, actor, ut_store_lock, token);

	if (found)
		ut_usage_overlay(token);
	return found;
}

bool
ut_service_update(const char *reference, const UtUpdate *update,
				  const UtActor *actor, UtToken *token, bool *found, UtProblem *problem)
{
	UtToken		before;

	*found = lock_referenced(reference, actor, &before);
	if (!*found)
		return true;
	*token = before;
	if (update->has_rate)
		token->rate = update->rate;
	if (update->has_sources)
		token->sources = update->sources;
	if (update->has_expiry)
		token->expires_at = update->expires_at;
	if (update->has_expiry && !ut_lifetime_apply(token, problem))
		return false;
	ut_service_change(&before, token, actor);
	return true;
}

void
ut_service_change(const UtToken *before, const UtToken *after, const UtActor *actor)
{
	ut_store_update(before, after);
	ut_service_report("api-token-updated", before, after, actor);
}

bool
ut_service_delete(const char *reference, const UtActor *actor)
{
	UtToken		token;

	if (!lock_referenced(reference, actor, &token))
		return false;
	ut_service_remove(&token, actor);
	return true;
}

bool
ut_service_delete_in(const char *project, const char *reference, const UtActor *actor, UtProblem *problem)
{
	UtToken		token;

	if (!lock_referenced(reference, actor, &token))
		return ut_problem_set(problem, UT_PROBLEM_TOKEN_UNKNOWN, NULL,
							  "No token has that selector or that secret.");
	if (token.scope.count != 1 || !ut_scope_names(&token.scope, project))
		return ut_problem_set(problem, UT_PROBLEM_TOKEN_PROJECTS, NULL,
							  "The token %s reaches other projects.", token.selector);
	ut_service_remove(&token, actor);
	return true;
}

bool
ut_service_has_project(const char *project, const UtActor *actor, UtProblem *problem)
{
	if (actor->bounds == NULL ? ut_store_has_project(project) : ut_scope_names(actor->bounds, project))
		return true;
	return ut_problem_set(problem, UT_PROBLEM_PROJECT_PATH, NULL,
						  "There is no project %s.", ut_field_show(project, strlen(project)));
}

void
ut_service_remove(const UtToken *token, const UtActor *actor)
{
	UtToken		shown = *token;

	ut_store_delete(token->selector);
	ut_usage_overlay(&shown);
	ut_service_report("api-token-deleted", &shown, NULL, actor);
}

/* One event for a change; before or after is NULL. */
void
ut_service_report(const char *type, const UtToken *before, const UtToken *after, const UtActor *actor)
{
	ut_store_add_event(type, after != NULL ? after : before, actor,
					   after == NULL ? NULL : ut_answer_event_data(after),
					   before == NULL ? NULL : ut_answer_event_data(before));
}

void
ut_service_report_scopeless(UtToken *tokens, int count, const UtActor *actor)
{
	for (int i = 0; i < count; i++)
	{
		ut_usage_overlay(&tokens[i]);
		ut_service_report("api-token-deleted", &tokens[i], NULL, actor);
	}
}
