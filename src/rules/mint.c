/*-------------------------------------------------------------------------
 *
 * rules/mint.c
 *	  How does a token come by its secret?
 *
 * The shape of a secret is text/secret.c's; here the random bytes, the time and
 * the encoding are handed to it.  Knows no table and nothing of HTTP.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "base/encoding.h"
#include "base/scope.h"
#include "rules/mint.h"
#include "text/secret.h"

void
ut_mint_token(const UtCreate *create, UtToken *token)
{
	memset(token, 0, sizeof(UtToken));
	token->name = create->name;
	token->type = create->type;
	token->environment = create->environment;
	token->scope = create->scope;
	token->created_at = ut_clock_from_ms(ut_clock_now_ms());
	token->expires_at = create->expires_at;
	token->rotatable = create->rotatable;
	token->activate_by = token->old_until = UT_TIME_UNSET;
	token->seen_at = UT_TIME_UNSET;
	token->rate = create->rate;
	token->sources = create->sources;
}

/* What stands before the selector: the scope and the environment. */
static char *
compose_prefix(const UtToken *token)
{
	const UtScope *scope = &token->scope;

	return psprintf("%s:%s",
					scope->all ? "*" : scope->count == 1 ? scope->ids[0] : "[]",
					ut_scope_environment(token));
}

/*
 * The rules for names keep a secret far below its bound; without them, as after
 * a constraint was dropped, no random bytes would ever do.
 */
static char *
convert_prefix(const char *prefix, size_t *len)
{
	char	   *utf8 = ut_encoding_to_utf8(prefix, strlen(prefix), len);

	if (utf8 == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
				 errmsg("the name of a project or environment has no form in UTF-8")));
	if (*len > UT_SECRET_MAX - (UT_SECRET_TAIL - 1))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the name of a project or environment is too long for a secret"),
				 errdetail("The names have %zu bytes together, a secret has at most %d.", *len, UT_SECRET_MAX),
				 errhint("Rename it to at most 100 characters, and see unleash_tokens.doctor() for a missing constraint.")));
	return utf8;
}

/*
 * Checksum and digest are over the UTF-8 form.  With a selector of its own the
 * secret keeps that one.
 */
static char *
mint(const UtToken *token, uint8 *verifier, char *selector)
{
	unsigned char random[UT_SECRET_RANDOM];
	char	   *prefix = compose_prefix(token);
	size_t		prefix_len;
	char	   *utf8_prefix = convert_prefix(prefix, &prefix_len);
	size_t		size = prefix_len + UT_SECRET_TAIL;
	char	   *utf8 = palloc(size);
	size_t		len;
	char	   *secret;

	do
	{
		CHECK_FOR_INTERRUPTS();
		ut_crypto_random(random, sizeof(random));
		len = token->selector != NULL ?
			ut_secret_compose_again(utf8, size, utf8_prefix, prefix_len,
									token->selector, random, sizeof(random)) :
			ut_secret_compose(utf8, size, utf8_prefix, prefix_len,
							  ut_clock_to_ms(token->created_at), random, sizeof(random));
	} while (len == 0);
	ut_crypto_verifier(utf8, len, verifier);
	secret = psprintf("%s%s", prefix, utf8 + prefix_len);
	memcpy(selector, utf8 + len - UT_KEY_LEN - 1 - UT_SELECTOR_LEN, UT_SELECTOR_LEN);
	explicit_bzero(random, sizeof(random));
	explicit_bzero(utf8, size);
	pfree(utf8);
	pfree(prefix);
	return secret;
}

char *
ut_mint_secret(UtToken *token)
{
	char	   *selector = palloc0(UT_SELECTOR_LEN + 1);
	char	   *secret;

	token->selector = NULL;
	secret = mint(token, token->verifier, selector);
	token->selector = selector;
	return secret;
}

char *
ut_mint_next_secret(UtToken *token)
{
	char		selector[UT_SELECTOR_LEN];

	return mint(token, token->next_verifier, selector);
}
