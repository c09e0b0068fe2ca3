/*-------------------------------------------------------------------------
 *
 * recall.c
 *	  What did guard_role say of a token like this one, and does it still?
 *
 * guard() asks in front of each request, and the answer seldom changes.  A
 * trigger on guard_role has the server tell every session of each row that is
 * written, as it tells of changed tables: at the latest when the next
 * transaction begins, on a standby too.  What was read is good until then.
 *
 * Knows no SQL and no roles of the server.  Locking: none.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "store/recall.h"

/* So many kinds of tokens; one more, and it begins anew. */
#define KEPT 16

/* A kind of tokens, and the row for it; without a role there is none. */
typedef struct Kept
{
	UtGuardRole kind;
	UtGuardRole row;
} Kept;

/* How often the server has said that guard_role may have changed. */
static uint32 changes = 0;

static struct
{
	uint32		as_of;			/* of changes */
	Oid			table;
	int			count;
	Kept		places[KEPT];
	MemoryContext context;
}			kept;

static void
note_change(Datum arg, Oid relation)
{
	if (!OidIsValid(relation) || relation == kept.table)
		changes++;
}

static bool
is_same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

uint32
ut_recall_now(Oid table)
{
	static bool registered = false;

	if (!registered)
		CacheRegisterRelcacheCallback(note_change, (Datum) 0);
	registered = true;
	if (kept.table != table)
		changes++;
	kept.table = table;
	return changes;
}

bool
ut_recall_find(const UtGuardRole *kind, UtGuardRole *row)
{
	AcceptInvalidationMessages();
	if (kept.as_of != changes)
		return false;
	for (int i = 0; i < kept.count; i++)
	{
		const Kept *one = &kept.places[i];

		if (is_same(one->kind.type, kind->type) &&
			is_same(one->kind.environment, kind->environment) &&
			is_same(one->kind.project, kind->project))
		{
			*row = one->row;
			return true;
		}
	}
	return false;
}

/* Will the server tell of each row that is written, whoever writes it? */
static bool
is_watched(Relation table)
{
	TriggerDesc *triggers = table->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (strcmp(trigger->tgname, "tell_sessions") == 0)
			return trigger->tgenabled == TRIGGER_FIRES_ALWAYS;
	}
	return false;
}

static char *
copy(const char *text)
{
	return text == NULL ? NULL : MemoryContextStrdup(kept.context, text);
}

static UtGuardRole
copy_row(const UtGuardRole *row)
{
	return (UtGuardRole)
	{
		copy(row->type), copy(row->environment), copy(row->project), copy(row->role)
	};
}

/* Nothing is kept that was read before a change that has been told of since. */
void
ut_recall_keep(Relation table, uint32 as_of, const UtGuardRole *kind, const UtGuardRole *row)
{
	if (as_of != changes || !is_watched(table))
		return;
	if (kept.context == NULL)
		kept.context = AllocSetContextCreate(CacheMemoryContext, "unleash_tokens roles of tokens",
											 ALLOCSET_SMALL_SIZES);
	if (kept.as_of != as_of || kept.count == KEPT)
	{
		MemoryContextReset(kept.context);
		kept.count = 0;
	}
	kept.places[kept.count].kind = copy_row(kind);
	kept.places[kept.count].row = copy_row(row);
	kept.count++;
	kept.as_of = as_of;
}
