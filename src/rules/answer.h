/*-------------------------------------------------------------------------
 *
 * answer.h
 *	  What do we reply?  token -> JSON in Unleash's shape.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_ANSWER_H
#define UT_ANSWER_H

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

#include "base/problem.h"
#include "base/token.h"

/*
 * Append a token as Unleash shows it.  secret is the secret itself in the
 * answer that makes it and NULL ever after: then the selector stands there.
 */
extern void ut_answer_token(StringInfo out, const UtToken *token, const char *secret);

/* The same as jsonb. */
extern Jsonb *ut_answer_shown(const UtToken *token, const char *secret);

/*
 * Many tokens as they are shown when they are made, as an array: begun with room
 * for so many, in the memory context that lasts.  Error 54000 above 256 MB.
 */
typedef struct UtShown UtShown;
extern UtShown *ut_answer_begin_shown(int room);
extern void ut_answer_add_shown(UtShown *shown, const UtToken *token, const char *secret);
extern Jsonb *ut_answer_end_shown(UtShown *shown);

/* What validate_api_token says of a token. */
extern Jsonb *ut_answer_validation(const UtToken *token);

/* Append a token as Unleash Edge reads it, which knows no type backend. */
extern void ut_answer_edge(StringInfo out, const UtToken *token, const char *secret);

/* Append a refusal as {"id","name","message","details"}; id is a new UUID. */
extern void ut_answer_problem(StringInfo out, const UtProblem *problem);

/* A token as events keep it: as shown, without secret. */
extern Jsonb *ut_answer_event_data(const UtToken *token);

/* Text that we made ourselves as jsonb. */
extern Jsonb *ut_answer_jsonb(StringInfo json);

/*
 * A list in the making, {"tokens":[...]}: begin, add each token, which must last
 * as long as the list, and end.  Adding returns how many bytes it takes at least.
 */
extern void ut_answer_begin_list(JsonbParseState **state);
extern size_t ut_answer_add_listed(JsonbParseState **state, const UtToken *token);
extern Jsonb *ut_answer_end_list(JsonbParseState **state);

#endif							/* UT_ANSWER_H */
