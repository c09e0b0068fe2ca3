/*-------------------------------------------------------------------------
 *
 * rules/validity.c
 *	  Which of a token's secrets count now?
 *
 * A new secret counts from the moment it was made, and the old one beside it:
 * the first use of the new one, whenever it is written, is what ends the old
 * one.  A use that is noted and not written yet counts as one, so that whatever
 * holds the writing up lengthens the time in which both count.
 *
 * Knows no table and nothing of HTTP.
 *
 * Locking: that of the notes of use.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "rules/validity.h"
#include "text/secret.h"
#include "usage/usage.h"

UtValidity
ut_validity_of(const UtToken *token)
{
	TimestampTz now;

	if (!token->is_rotated)
		return UT_VALIDITY_ONE;
	now = GetCurrentTimestamp();
	if (token->old_until != UT_TIME_UNSET)
		return now < token->old_until ? UT_VALIDITY_GRACE : UT_VALIDITY_OVER;
	return now < token->activate_by ? UT_VALIDITY_PENDING : UT_VALIDITY_LAPSED;
}

const char *
ut_validity_name(UtValidity validity)
{
	static const char *const names[] = {"one", "pending", "lapsed", "grace", "over"};

	return names[validity];
}

static UtMark
mark_of(const UtToken *token)
{
	UtMark		mark = {.is_set = true};

	memcpy(mark.bytes, token->next_verifier, UT_MARK_LEN);
	return mark;
}

bool
ut_validity_is_used(const UtToken *token)
{
	UtMark		mark = mark_of(token);

	return token->old_until == UT_TIME_UNSET && ut_usage_has_mark(token->selector, &mark);
}

static bool
accepts_new(UtToken *token)
{
	UtValidity	validity = ut_validity_of(token);

	if (validity == UT_VALIDITY_GRACE || validity == UT_VALIDITY_OVER)
		return true;
	if (validity == UT_VALIDITY_LAPSED && !ut_validity_is_used(token))
		return false;
	token->used = mark_of(token);
	return true;
}

/* Of a token that was not found, or is not being rotated, all bytes are zero: no digest is. */
bool
ut_validity_accepts(UtToken *token, const uint8 *verifier)
{
	bool		is_old = ut_secret_equal(verifier, token->verifier, UT_VERIFIER_LEN);
	bool		is_new = ut_secret_equal(verifier, token->next_verifier, UT_VERIFIER_LEN);

	if (is_new & token->is_rotated)
		return accepts_new(token);
	return is_old && ut_validity_of(token) != UT_VALIDITY_OVER;
}
