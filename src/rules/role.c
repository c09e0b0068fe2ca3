/*-------------------------------------------------------------------------
 *
 * role.c
 *	  Which database role may a request run as, and how does it become it?
 *
 * Row security binds neither superusers nor roles with BYPASSRLS, and a role
 * that owns or manages tokens could make itself any other.  Such a role is
 * refused each time anew: roles change after they were entered in guard_role.
 *
 * Knows nothing of tokens and of HTTP.  Locking: none of its own.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/catcache.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "rules/role.h"
#include "store/guard.h"

/* What is wrong with this role itself? */
static const char *
judge(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	Form_pg_authid form;
	const char *fault = NULL;

	if (!HeapTupleIsValid(tuple))
		return "The role does not exist.";
	form = (Form_pg_authid) GETSTRUCT(tuple);
	if (form->rolsuper)
		fault = "It is a superuser.";
	else if (form->rolbypassrls)
		fault = "It bypasses row security.";
	else if (form->rolreplication)
		fault = "It may start replication.";
	else if (form->rolcreaterole)
		fault = "It may create roles.";
	else if (strncmp(NameStr(form->rolname), "pg_", 3) == 0)
		fault = "It is a role of the server.";
	else if (strcmp(NameStr(form->rolname), "unleash_tokens_admin") == 0)
		fault = "It manages the tokens.";
	else if (ut_store_is_owner(role))
		fault = "It owns the tables of tokens.";
	ReleaseSysCache(tuple);
	return fault;
}

/* Add the roles that this one is a member of, inheriting or not. */
static List *
add_roles_of(List *roles, Oid member)
{
	CatCList   *list = SearchSysCacheList1(AUTHMEMMEMROLE, ObjectIdGetDatum(member));

	for (int i = 0; i < list->n_members; i++)
	{
		HeapTuple	tuple = &list->members[i]->tuple;

		roles = list_append_unique_oid(roles, ((Form_pg_auth_members) GETSTRUCT(tuple))->roleid);
	}
	ReleaseSysCacheList(list);
	return roles;
}

/*
 * Roles that nothing was wrong with, until the server tells of a change to a
 * role, a membership, or a relation or schema, which may have a new owner.
 */
#define SOUND 16
static Oid	sound[SOUND];
static int	sounds = 0;
static bool changed = false;

static void
forget_sound(Datum arg, int cache, uint32 hash)
{
	sounds = 0;
	changed = true;
}

static bool
is_sound(Oid role)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterSyscacheCallback(AUTHOID, forget_sound, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, forget_sound, (Datum) 0);
		CacheRegisterSyscacheCallback(RELOID, forget_sound, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, forget_sound, (Datum) 0);
		registered = true;
	}
	for (int i = 0; i < sounds; i++)
	{
		if (sound[i] == role)
			return true;
	}
	return false;
}

const char *
ut_role_find_fault(const char *name)
{
	Oid			role;
	List	   *roles;
	const char *fault = NULL;

	AcceptInvalidationMessages();
	role = get_role_oid(name, true);
	if (is_sound(role))
		return NULL;
	changed = false;
	roles = list_make1_oid(role);
	/* the list grows while it is gone through */
	for (int i = 0; i < list_length(roles) && fault == NULL; i++)
	{
		Oid			next = list_nth_oid(roles, i);

		fault = judge(next);
		if (fault == NULL)
			roles = add_roles_of(roles, next);
		else if (i > 0)
			fault = psprintf("It is a member of role \"%s\".  %s",
							 GetUserNameFromId(next, false), fault);
	}
	list_free(roles);
	/* a change that was told of meanwhile may have come too late for it */
	if (fault == NULL && !changed)
		sound[sounds < SOUND ? sounds++ : 0] = role;
	return fault;
}

/* Would it change who runs the transaction, or what it may do? */
static bool
is_fixed(const char *name)
{
	return strcmp(name, "role") == 0 || strcmp(name, "session_authorization") == 0 ||
		strncmp(name, "transaction_", 12) == 0 || strncmp(name, "default_transaction_", 20) == 0;
}

/*
 * As at login these were checked when they were stored, so they are set with
 * the rights of a superuser.  One that cannot be set (any more) is left out.
 */
static void
apply_setting(char *setting)
{
	char	   *name;
	char	   *value;

	ParseLongOption(setting, &name, &value);
	if (value != NULL && !is_fixed(name))
		(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, DEBUG1, false);
}

/*
 * Through the setting "role" and nothing else: it checks memberships of the
 * session's user, and goes with the transaction.
 */
bool
ut_role_become(const char *name)
{
	Oid			role = get_role_oid(name, false);
	ListCell   *cell;

	/* asked first, since the server's own refusal names the role */
	if (!UT_MAY_SET_ROLE(GetSessionUserId(), role) ||
		set_config_option("role", name, PGC_USERSET, PGC_S_SESSION,
						  GUC_ACTION_LOCAL, true, LOG_SERVER_ONLY, false) <= 0)
		return false;
	foreach(cell, ut_store_list_role_settings(role))
		apply_setting(lfirst(cell));
	return true;
}
