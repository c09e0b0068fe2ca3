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

#include "catalog/namespace.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "answer.h"
#include "clock.h"
#include "crypto.h"
#include "secret.h"
#include "service.h"
#include "store.h"

int			ut_max_tokens = 0;

static bool check_create(const UtCreate *create, UtProblem *problem);
static char *compose_secret(const UtToken *token, int64 ms, uint8 *verifier);
static void report(const char *type, const UtToken *before, const UtToken *after,
				   const UtActor *actor);
static char *to_utf8(const char *text, size_t len, size_t *utf8_len);

bool
ut_service_create(const UtCreate *create, const UtActor *actor,
				  UtToken *token, char **secret, UtProblem *problem)
{
	int64		now = ut_clock_now_ms();
	const char *selector;

	if (!check_create(create, problem))
		return false;

	memset(token, 0, sizeof(UtToken));
	token->name = create->name;
	token->type = create->type;
	token->environment = create->environment;
	token->scope = create->scope;
	token->created_at = ut_clock_from_ms(now);
	token->expires_at = create->expires_at;
	token->seen_at = UT_TIME_UNSET;

	/* two selectors are equal once in 2^65 of the same millisecond */
	do
	{
		CHECK_FOR_INTERRUPTS();
		*secret = compose_secret(token, now, token->verifier);
		ut_secret_parse(*secret, strlen(*secret), &selector);
		token->selector = pnstrdup(selector, UT_SELECTOR_LEN);
	} while (!ut_store_insert(token, actor->name));

	report("api-token-created", NULL, token, actor);
	return true;
}

/* What the tables say against a request, in the documented order. */
static bool
check_create(const UtCreate *create, UtProblem *problem)
{
	int			unknown;

	if (create->environment != NULL && !ut_store_lock_environment(create->environment))
		return ut_problem_set(problem, UT_PROBLEM_ENVIRONMENT_UNKNOWN, "/body/environment",
							  "There is no environment %s.",
							  ut_request_show(create->environment, strlen(create->environment)));
	if (ut_max_tokens > 0 && !ut_store_is_below(ut_max_tokens))
		return ut_problem_set(problem, UT_PROBLEM_LIMIT, NULL,
							  "At most %d tokens are allowed.", ut_max_tokens);
	if (create->scope.all)
		return true;
	unknown = ut_store_lock_projects(&create->scope);
	if (unknown < 0)
		return true;
	return ut_problem_set(problem, UT_PROBLEM_PROJECT_UNKNOWN, "/body/projects",
						  "There is no project %s.",
						  ut_request_show(create->scope.ids[unknown],
										  strlen(create->scope.ids[unknown])));
}

/*
 * A new secret for token, and its verifier.  The secret is in the server's
 * encoding; checksum and digest are over its UTF-8 form.
 */
static char *
compose_secret(const UtToken *token, int64 ms, uint8 *verifier)
{
	unsigned char random[UT_SECRET_RANDOM];
	const UtScope *scope = &token->scope;
	char	   *prefix = psprintf("%s:%s",
								  scope->all ? "*" : scope->count == 1 ? scope->ids[0] : "[]",
								  token->environment == NULL ? "*" : token->environment);
	size_t		prefix_len;
	char	   *utf8_prefix = to_utf8(prefix, strlen(prefix), &prefix_len);
	size_t		size = prefix_len + UT_SECRET_TAIL + 1;
	char	   *utf8 = palloc(size);
	size_t		len;
	char	   *secret;

	do
	{
		ut_crypto_random(random, sizeof(random));
		len = ut_secret_compose(utf8, size, utf8_prefix, prefix_len, ms, random, sizeof(random));
	} while (len == 0);
	ut_crypto_verifier(utf8, len, verifier);
	secret = psprintf("%s%s", prefix, utf8 + prefix_len);
	explicit_bzero(random, sizeof(random));
	explicit_bzero(utf8, size);
	pfree(utf8);
	return secret;
}

/*
 * Text of the server's encoding in UTF-8, or NULL when it has no such form.
 * A database without an encoding (SQL_ASCII) keeps bytes: they stay as they are.
 */
static char *
to_utf8(const char *text, size_t len, size_t *utf8_len)
{
	int			encoding = GetDatabaseEncoding();
	size_t		size;
	char	   *utf8;
	int			converted;

	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
	{
		*utf8_len = len;
		return unconstify(char *, text);
	}
	size = len * MAX_CONVERSION_GROWTH + 1;
	utf8 = palloc(size);
	converted = pg_do_encoding_conversion_buf(FindDefaultConversionProc(encoding, PG_UTF8),
											  encoding, PG_UTF8,
											  (unsigned char *) unconstify(char *, text), len,
											  (unsigned char *) utf8, size, true);
	*utf8_len = strlen(utf8);
	return converted == (int) len ? utf8 : NULL;
}

bool
ut_service_validate(const char *secret, size_t len, UtToken *token)
{
	uint8		verifier[UT_VERIFIER_LEN];
	const char *selector;
	UtSecretKind kind;
	bool		found;

	secret = len <= UT_SECRET_MAX ? to_utf8(secret, len, &len) : NULL;
	kind = secret == NULL ? UT_SECRET_REFUSED : ut_secret_parse(secret, len, &selector);
	if (kind == UT_SECRET_REFUSED)
		return false;

	memset(token, 0, sizeof(UtToken));
	ut_crypto_verifier(secret, len, verifier);
	if (kind == UT_SECRET_V1)
		found = ut_store_find_by_verifier(verifier, token);
	else
		found = ut_store_find(pnstrdup(selector, UT_SELECTOR_LEN), token);

	/* compared also when nothing was found, to take the same time */
	found &= ut_secret_equal(verifier, token->verifier, UT_VERIFIER_LEN);
	if (!found || (token->expires_at != UT_TIME_UNSET && token->expires_at <= GetCurrentTimestamp()))
		return false;
	return token->scope.all || token->scope.count > 0;
}

/* One event for a change; before or after is NULL. */
static void
report(const char *type, const UtToken *before, const UtToken *after, const UtActor *actor)
{
	ut_store_add_event(type, after != NULL ? after : before, actor,
					   after == NULL ? NULL : ut_answer_event_data(after),
					   before == NULL ? NULL : ut_answer_event_data(before));
}

void
ut_service_report_scopeless(UtToken *tokens, int count, const UtActor *actor)
{
	for (int i = 0; i < count; i++)
		report("api-token-deleted", &tokens[i], NULL, actor);
}
