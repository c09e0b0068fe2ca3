/*-------------------------------------------------------------------------
 *
 * rules/batch.c
 *	  How are many tokens made at once?
 *
 * Everything is checked before the first write, and all of it is one command of
 * its caller's, so that all of them come to be or none.  They are written some
 * at a time: what is in the processor's caches need not be fetched again.
 *
 * Knows no SQL text and nothing of HTTP.
 *
 * Locking: environments in the order of their names, then the number of tokens,
 * then projects in the order of their ids, as create does for one.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "rules/answer.h"
#include "rules/batch.h"
#include "rules/field.h"
#include "rules/lifetime.h"
#include "rules/mint.h"
#include "rules/request.h"
#include "rules/service.h"
#include "store/store.h"

#define CHUNK 500				/* tokens that are written at a time */

/* A name that an element asks for, and which element it is. */
typedef struct Wanted
{
	char	   *name;
	int			index;
} Wanted;

/* A refusal of create as one of the element at that place. */
static bool
refuse_element(UtProblem *problem, int index)
{
	const char *field = problem->path == NULL ? "" : problem->path + strlen("/body");

	problem->path = psprintf("/body/%d%s", index, field);
	problem->detail = psprintf("Element %d: %s", index, problem->detail);
	return false;
}

static bool
read_array(Jsonb *body, int *count, UtProblem *problem)
{
	if (body == NULL || !JB_ROOT_IS_ARRAY(body) || JB_ROOT_IS_SCALAR(body))
		return ut_problem_set(problem, UT_PROBLEM_BATCH, "/body", "You sent %s.",
							  body == NULL ? "nothing" :
							  JB_ROOT_IS_OBJECT(body) ? "an object" : "a single value");
	*count = JB_ROOT_COUNT(body);
	if (*count > UT_BATCH_MAX)
		return ut_problem_set(problem, UT_PROBLEM_BATCH, "/body",
							  "The array has %d elements.", *count);
	return true;
}

/* By the rules of create; one pass, since elements of jsonb lie one behind the other. */
static bool
read_elements(Jsonb *body, UtIncoming *incoming, UtProblem *problem)
{
	JsonbIterator *iterator = JsonbIteratorInit(&body->root);
	JsonbValue	element;
	UtCreate	create;
	int			index = 0;

	(void) JsonbIteratorNext(&iterator, &element, true);
	while (JsonbIteratorNext(&iterator, &element, true) == WJB_ELEM)
	{
		CHECK_FOR_INTERRUPTS();
		if (!ut_request_create(JsonbValueToJsonb(&element), &create, problem))
			return refuse_element(problem, index);
		ut_mint_token(&create, &incoming[index].token);
		if (!ut_lifetime_apply(&incoming[index].token, problem))
			return refuse_element(problem, index);
		index++;
	}
	return true;
}

static int
compare_wanted(const void *a, const void *b)
{
	int			order = strcmp(((const Wanted *) a)->name, ((const Wanted *) b)->name);

	return order != 0 ? order : ((const Wanted *) a)->index - ((const Wanted *) b)->index;
}

/* Each name once, in their order, with the first element that asks for it. */
static int
sort_wanted(Wanted *wanted, int count)
{
	int			distinct = 0;

	qsort(wanted, count, sizeof(Wanted), compare_wanted);
	for (int i = 0; i < count; i++)
	{
		if (i == 0 || strcmp(wanted[i].name, wanted[distinct - 1].name) != 0)
			wanted[distinct++] = wanted[i];
	}
	return distinct;
}

static bool
lock_environments(const UtIncoming *incoming, int count, UtProblem *problem)
{
	Wanted	   *wanted = palloc_extended(Max(count, 1) * sizeof(Wanted), MCXT_ALLOC_HUGE);
	int			distinct = 0;

	for (int i = 0; i < count; i++)
	{
		if (incoming[i].token.environment == NULL)
			continue;
		wanted[distinct].name = incoming[i].token.environment;
		wanted[distinct++].index = i;
	}
	distinct = sort_wanted(wanted, distinct);
	for (int i = 0; i < distinct; i++)
	{
		if (!ut_service_lock_environment(wanted[i].name, problem))
			return refuse_element(problem, wanted[i].index);
	}
	return true;
}

static bool
lock_projects(const UtIncoming *incoming, int count, UtProblem *problem)
{
	Wanted	   *wanted;
	int			distinct = 0;
	int			unknown;
	UtScope		scope = {0};

	for (int i = 0; i < count; i++)
		distinct += incoming[i].token.scope.count;
	wanted = palloc_extended(Max(distinct, 1) * sizeof(Wanted), MCXT_ALLOC_HUGE);
	distinct = 0;
	for (int i = 0; i < count; i++)
	{
		for (int j = 0; j < incoming[i].token.scope.count; j++)
		{
			wanted[distinct].name = incoming[i].token.scope.ids[j];
			wanted[distinct++].index = i;
		}
	}
	if (distinct == 0)
		return true;
	scope.count = sort_wanted(wanted, distinct);
	scope.ids = palloc(scope.count * sizeof(char *));
	for (int i = 0; i < scope.count; i++)
		scope.ids[i] = wanted[i].name;
	return ut_service_lock_projects(&scope, &unknown, problem) ||
		refuse_element(problem, wanted[unknown].index);
}

static bool
check_limit(int count, UtProblem *problem)
{
	if (ut_max_tokens == 0 ||
		(count <= ut_max_tokens && ut_store_is_below(ut_max_tokens - count + 1)))
		return true;
	return ut_problem_set(problem, UT_PROBLEM_LIMIT, NULL,
						  "With these %d there would be more than %d tokens; none was made.",
						  count, ut_max_tokens);
}

/* Make and write some tokens; what is left of them afterwards is what is shown. */
static void
write_chunk(UtIncoming *incoming, int count, const UtActor *actor, UtShown *shown)
{
	Jsonb	   *events[CHUNK];

	for (int i = 0; i < count; i++)
	{
		char	   *secret = ut_mint_secret(&incoming[i].token);

		events[i] = ut_answer_event_data(&incoming[i].token);
		ut_answer_add_shown(shown, &incoming[i].token, secret);
	}
	ut_store_insert_many(incoming, count, events, actor);
}

static Jsonb *
write_tokens(UtIncoming *incoming, int count, const UtActor *actor)
{
	MemoryContext chunk = AllocSetContextCreate(CurrentMemoryContext, "unleash_tokens batch", ALLOCSET_DEFAULT_SIZES);
	UtShown    *shown = ut_answer_begin_shown(count);

	for (int first = 0; first < count; first += CHUNK)
	{
		MemoryContext before = MemoryContextSwitchTo(chunk);

		CHECK_FOR_INTERRUPTS();
		write_chunk(incoming + first, Min(CHUNK, count - first), actor, shown);
		MemoryContextSwitchTo(before);
		MemoryContextReset(chunk);
	}
	MemoryContextDelete(chunk);
	return ut_answer_end_shown(shown);
}

bool
ut_batch_create(Jsonb *body, const UtActor *actor, Jsonb **answer, UtProblem *problem)
{
	UtIncoming *incoming;
	int			count = 0;

	if (!read_array(body, &count, problem))
		return false;
	incoming = palloc_extended(Max(count, 1) * sizeof(UtIncoming), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	if (!read_elements(body, incoming, problem) ||
		!lock_environments(incoming, count, problem) ||
		!check_limit(count, problem) ||
		!lock_projects(incoming, count, problem))
		return false;
	*answer = write_tokens(incoming, count, actor);
	return true;
}
