/*-------------------------------------------------------------------------
 *
 * trust.c
 *	  Whose code runs when a table of ours is written?
 *
 * A trigger's function runs as whoever writes, not as who put the trigger
 * there.  To write as a role is to lend it to the owners of those functions:
 * done only to those who could act as that role anyway.  A function that is
 * SECURITY DEFINER borrows nothing.
 *
 * Locking: none; the caller has locked the table against new triggers.
 *
 * Knows no token.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "store/trust.h"

/* The owner of the code that runs as whoever calls it; InvalidOid for none such. */
static Oid
find_borrower(Oid function)
{
	HeapTuple	row = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			owner = InvalidOid;

	if (!HeapTupleIsValid(row))
		elog(ERROR, "cache lookup failed for function %u", function);
	if (!((Form_pg_proc) GETSTRUCT(row))->prosecdef)
		owner = ((Form_pg_proc) GETSTRUCT(row))->proowner;
	ReleaseSysCache(row);
	return owner;
}

static void
check_trigger(Relation table, const Trigger *trigger, Oid role)
{
	Oid			owner = find_borrower(trigger->tgfoid);

	if (!OidIsValid(owner) || has_privs_of_role(owner, role))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("trigger \"%s\" on table \"%s\" is not trusted", trigger->tgname, RelationGetRelationName(table)),
			 errdetail("Its function %s belongs to role \"%s\", who would act as role \"%s\".",
					   get_func_name(trigger->tgfoid), GetUserNameFromId(owner, false), GetUserNameFromId(role, false)),
			 errhint("Drop the trigger, make its function SECURITY DEFINER, or give the function to role \"%s\".",
					 GetUserNameFromId(role, false))));
}

void
ut_store_check_update_triggers(Relation table, Oid role)
{
	for (int i = 0; table->trigdesc != NULL && i < table->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &table->trigdesc->triggers[i];

		if (TRIGGER_FOR_UPDATE(trigger->tgtype) && trigger->tgenabled != TRIGGER_DISABLED)
			check_trigger(table, trigger, role);
	}
}
