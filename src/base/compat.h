/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Which PostgreSQL is this?
 *
 * The only place that asks for the server's version.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef UT_COMPAT_H
#define UT_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "unleash_tokens needs PostgreSQL 15 or later"
#endif

/* 16 moved the varlena macros out of postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 18 has one word for a function that does not return, in front of it. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* 18 lets a module say its name and version. */
#if PG_VERSION_NUM >= 180000
#define UT_MODULE_MAGIC \
	PG_MODULE_MAGIC_EXT(.name = "unleash_tokens", .version = UT_VERSION)
#else
#define UT_MODULE_MAGIC PG_MODULE_MAGIC
#endif

/* 17 lets a module name what it waits for; a known name is found again. */
#include "utils/wait_event.h"
#if PG_VERSION_NUM >= 170000
#define UT_WAIT_EVENT(name) WaitEventExtensionNew(name)
#else
#define UT_WAIT_EVENT(name) PG_WAIT_EXTENSION
#endif

/*
 * What later minor versions of 15 put into pg_database.datconnlimit when DROP
 * DATABASE was interrupted; earlier ones know no such state.
 */
#define UT_DATABASE_INVALID (-2)

/* 18 counts the searches of an index, where somebody wants to know. */
#if PG_VERSION_NUM >= 180000
#define ut_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#else
#define ut_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, nkeys, 0)
#endif

/*
 * 16 lets the actions of a JSON parser fail, 17 lets its context be anywhere; who
 * uses these includes common/jsonapi.h.
 */
#if PG_VERSION_NUM >= 160000
#define UT_JSON_ACTION JsonParseErrorType
#define UT_JSON_DONE return JSON_SUCCESS
#else
#define UT_JSON_ACTION void
#define UT_JSON_DONE return
#endif
#if PG_VERSION_NUM >= 170000
#define UT_JSON_LEX(text, len, encoding) makeJsonLexContextCstringLen(NULL, text, len, encoding, true)
#else
#define UT_JSON_LEX(text, len, encoding) makeJsonLexContextCstringLen(text, len, encoding, true)
#endif

/* 16 keeps what belongs to a setting in a memory context of its own. */
#if PG_VERSION_NUM >= 160000
#define ut_guc_malloc(size) guc_malloc(LOG, size)
#else
#define ut_guc_malloc(size) malloc(size)
#endif

/* 16 lets a membership be one without SET ROLE. */
#if PG_VERSION_NUM >= 160000
#define UT_MAY_SET_ROLE(member, role) member_can_set_role(member, role)
#else
#define UT_MAY_SET_ROLE(member, role) is_member_of_role(member, role)
#endif

/* 18 has checks that are not enforced, and generated columns that are not stored. */
#if PG_VERSION_NUM >= 180000
#define UT_CHECK_EXPRESSIONS ri_CheckConstraintExprs
#define UT_IS_ENFORCED(check) ((check)->ccenforced)
#define UT_HAS_GENERATED(constr) \
	((constr) != NULL && ((constr)->has_generated_stored || (constr)->has_generated_virtual))
#else
#define UT_CHECK_EXPRESSIONS ri_ConstraintExprs
#define UT_IS_ENFORCED(check) true
#define UT_HAS_GENERATED(constr) ((constr) != NULL && (constr)->has_generated_stored)
#endif

/* 16 took privileges out of the range table; 18 wants to know what was pruned. */
#if PG_VERSION_NUM >= 180000
#define ut_init_range_table(estate, entries, permissions) \
	ExecInitRangeTable(estate, entries, permissions, bms_add_range(NULL, 1, list_length(entries)))
#elif PG_VERSION_NUM >= 160000
#define ut_init_range_table(estate, entries, permissions) ExecInitRangeTable(estate, entries, permissions)
#else
#define ut_init_range_table(estate, entries, permissions) ExecInitRangeTable(estate, entries)
#endif
#if PG_VERSION_NUM >= 160000
#define UT_ADD_PERMISSIONS(permissions, entry) addRTEPermissionInfo(permissions, entry)
#else
#define UT_ADD_PERMISSIONS(permissions, entry) ((void) (permissions))
#endif

#endif							/* UT_COMPAT_H */
