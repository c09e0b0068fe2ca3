/*-------------------------------------------------------------------------
 *
 * recall.c
 *	  What did guard_role say of a token like this one, and does it still?
 *
 * guard() asks in front of each request, and the answer seldom changes.  A
 * trigger on guard_role has the server tell every session of each row that is
 * written, as it tells of changed tables: at the latest when the next
 * transaction begins, on a standby too.  What was read is good until then.
 * Likewise the settings of the role, of whose changes the server tells too,
 * though without a word of what it is: any message may be that one.
 *
 * Knows no SQL and not what a role may.  Locking: none.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "storage/sinval.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "store/recall.h"

/*
 * So many kinds of tokens, each in the place that its hash gives it, until
 * another comes there: where each team has a project, there are many.
 */
#define KEPT 256

/* A kind of tokens, and the row for it; without a role there is none. */
typedef struct Kept
{
	MemoryContext context;		/* of all its texts; NULL: nothing is kept
								 * here */
	UtGuardRole kind;
	UtGuardRole row;
} Kept;

/* How often the server has said that guard_role may have changed. */
static uint32 changes = 0;

static struct
{
	uint32		as_of;			/* of changes */
	Oid			table;
	Kept		places[KEPT];
}			kept;

static void
note_change(Datum arg, Oid relation)
{
	if (!OidIsValid(relation) || relation == kept.table)
		changes++;
}

static char *
copy(const char *text)
{
	return text == NULL ? NULL : pstrdup(text);
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

static uint32
hash_text(uint32 hash, const char *text)
{
	return text == NULL ? hash_combine(hash, 0) :
		hash_combine(hash, hash_bytes((const unsigned char *) text, strlen(text)));
}

static Kept *
find_place(const UtGuardRole *kind)
{
	return &kept.places[hash_text(hash_text(hash_text(0, kind->type), kind->environment), kind->project) % KEPT];
}

bool
ut_recall_find(const UtGuardRole *kind, UtGuardRole *row)
{
	const Kept *place = find_place(kind);

	AcceptInvalidationMessages();
	if (kept.as_of != changes || place->context == NULL ||
		!is_same(place->kind.type, kind->type) ||
		!is_same(place->kind.environment, kind->environment) ||
		!is_same(place->kind.project, kind->project))
		return false;
	*row = place->row;
	return true;
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

static UtGuardRole
copy_row(const UtGuardRole *row)
{
	return (UtGuardRole)
	{
		copy(row->type), copy(row->environment), copy(row->project), copy(row->role)
	};
}

static void
empty(Kept *place)
{
	if (place->context != NULL)
		MemoryContextDelete(place->context);
	place->context = NULL;
}

static void
fill(Kept *place, const UtGuardRole *kind, const UtGuardRole *row)
{
	MemoryContext context = AllocSetContextCreate(CacheMemoryContext, "unleash_tokens role of tokens",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);

	place->kind = copy_row(kind);
	place->row = copy_row(row);
	place->context = context;	/* last: a copy that failed is none */
	MemoryContextSwitchTo(before);
}

/* Nothing is kept that was read before a change that has been told of since. */
void
ut_recall_keep(Relation table, uint32 as_of, const UtGuardRole *kind, const UtGuardRole *row)
{
	Kept	   *place = find_place(kind);

	if (as_of != changes || !is_watched(table))
		return;
	for (int i = 0; i < KEPT && kept.as_of != as_of; i++)
		empty(&kept.places[i]);
	kept.as_of = as_of;
	empty(place);
	fill(place, kind, row);
}

/* ---- Settings of roles ---- */

/* So many roles; one more, and it begins anew. */
#define KEPT_ROLES 16

static struct
{
	uint64		as_of;			/* of the server's messages */
	int			count;
	Oid			roles[KEPT_ROLES];
	List	   *settings[KEPT_ROLES];
	MemoryContext context;
}			kept_settings;

/* What this transaction has written itself it was not sent a message of. */
static bool
has_written(void)
{
	return TransactionIdIsValid(GetTopTransactionIdIfAny());
}

bool
ut_recall_find_settings(Oid role, List **settings)
{
	AcceptInvalidationMessages();
	if (kept_settings.as_of != SharedInvalidMessageCounter || has_written())
		return false;
	for (int i = 0; i < kept_settings.count; i++)
	{
		if (kept_settings.roles[i] == role)
		{
			*settings = kept_settings.settings[i];
			return true;
		}
	}
	return false;
}

static List *
copy_texts(const List *texts)
{
	List	   *copied = NIL;
	ListCell   *cell;

	foreach(cell, texts)
		copied = lappend(copied, pstrdup(lfirst(cell)));
	return copied;
}

void
ut_recall_keep_settings(uint64 as_of, Oid role, const List *settings)
{
	MemoryContext before;

	if (as_of != SharedInvalidMessageCounter || has_written())
		return;
	if (kept_settings.context == NULL)
		kept_settings.context = AllocSetContextCreate(CacheMemoryContext, "unleash_tokens settings of roles",
													  ALLOCSET_SMALL_SIZES);
	if (kept_settings.as_of != as_of || kept_settings.count == KEPT_ROLES)
	{
		MemoryContextReset(kept_settings.context);
		kept_settings.count = 0;
	}
	kept_settings.as_of = as_of;
	before = MemoryContextSwitchTo(kept_settings.context);
	kept_settings.settings[kept_settings.count] = copy_texts(settings);
	MemoryContextSwitchTo(before);
	kept_settings.roles[kept_settings.count++] = role;
}
