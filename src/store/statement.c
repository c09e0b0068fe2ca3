/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  Which statements are there?  Every SQL statement of the extension stands
 *	  here.
 *
 * All callers are SECURITY DEFINER with search_path = pg_catalog, pg_temp, so
 * operators and functions are the server's; tables carry their schema.
 *
 * Knows nothing of HTTP and JSON bodies, nor how a statement is run.  Locks:
 * those that the statements say.
 *
 * Copyright (c) 2026, unleash_tokens contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "store/page.h"
#include "store/statement.h"

/*
 * As enum UtTokenColumn has them, as far as the table does: that of an older
 * version has fewer.  What a token reaches is read by read.c.
 */
#define TOKEN_COLUMNS "t.* "

/* Does a note say that the new secret of a rotation was used, which the row does not know yet? */
#define ACTIVATES \
	"(t.old_until IS NULL AND substring(t.next_verifier FROM 1 FOR 4) = u.mark)"

/*
 * Columns in the order of import.c.  Those that version 1.0 did not have are
 * named only where a token has something for them.
 */
#define NEW_COLUMNS \
	"selector, verifier, token_name, type, environment, all_projects, created_at, expires_at"
#define USED_COLUMNS "by_verifier, seen_at, alias"
#define LATER_COLUMNS "rotatable, rate_limit, rate_period, rate_burst, allowed_ips"
#define LATER_VALUES "rotatable, rate_limit, rate_period, rate_burst, allowed_ips::cidr[]"
#define NEW_TYPES \
	TEXTARRAYOID, BYTEAARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, BOOLARRAYOID, \
	TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID
#define USED_TYPES BOOLARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID
#define LATER_TYPES BOOLARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, TEXTARRAYOID

#define ROW_COLUMNS \
	"selector, verifier, token_name, type, environment, all_projects, by_verifier, created_at, " \
	"expires_at, seen_at, alias, created_by"
#define ROW_TYPES \
	TEXTOID, BYTEAOID, TEXTOID, TEXTOID, TEXTOID, BOOLOID, BOOLOID, TIMESTAMPTZOID, \
	TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID

/* A unique index that is not valid keeps nothing out. */
#define UNLESS_KNOWN \
	"WHERE NOT (u.by_verifier AND EXISTS (SELECT FROM unleash_tokens.api_token AS t " \
	"WHERE t.by_verifier AND t.verifier = u.verifier)) " \
	"ON CONFLICT DO NOTHING RETURNING selector"

/* The tokens that expire later than so many seconds after they were made. */
#define LONGER \
	"SELECT t.selector FROM unleash_tokens.api_token AS t WHERE t.selector > $2 " \
	"AND (t.expires_at IS NULL OR t.expires_at > " \
	"least(t.created_at + make_interval(secs => $1), '9999-12-31 23:59:59.999+00')) ORDER BY t.selector LIMIT 1000"

/* The row of guard_role for this type, environment and project, each of which may be NULL. */
#define SAME_CHOICES \
	"WHERE type IS NOT DISTINCT FROM $1 AND environment IS NOT DISTINCT FROM $2 AND project IS NOT DISTINCT FROM $3"

/*
 * Pages.  Bounds are constants: a plan for any number of rows would be made for
 * a tenth of the table.  The names are those of the index.
 */
#define WINDOW " LIMIT " CppAsString2(UT_PAGE_WINDOW)
#define WINDOW_WITHIN " LIMIT " CppAsString2(UT_PAGE_WINDOW_WITHIN)
#define NAME_KEY "lower(\"left\"(t.token_name, " CppAsString2(UT_NAME_KEY_LEN) "))"
#define ROTATION_KEY "coalesce(t.old_until, t.activate_by)"
#define UPWARDS(key) "(" key ", t.selector) > ($1, $3) AND " key " < $2 ORDER BY " key ", t.selector" WINDOW
#define DOWNWARDS(key) "(" key ", t.selector) < ($2, $3) AND " key " >= $1 ORDER BY " key " DESC, t.selector DESC" WINDOW
#define TOKENS "SELECT " TOKEN_COLUMNS "FROM unleash_tokens.api_token AS t "
#define ROTATED "t.next_verifier IS NOT NULL AND "

/* The types one by one, each in the order of names, which is merged; the key stands behind the columns of the table. */
#define OF_ONE_TYPE(type, some) "(SELECT t.*, " NAME_KEY " AS key FROM unleash_tokens.api_token AS t WHERE t.type = '" type "' AND " some ")"
#define OF_EACH_TYPE(some, down) \
	"SELECT t.* FROM (" OF_ONE_TYPE("admin", some) " UNION ALL " OF_ONE_TYPE("backend", some) " UNION ALL " \
	OF_ONE_TYPE("client", some) " UNION ALL " OF_ONE_TYPE("frontend", some) ") AS t ORDER BY t.key" down ", t.selector" down WINDOW

/*
 * The selectors of a project.  No "=": then the order of all selectors would do,
 * and most of them may be of others.  Nor the far bound, at which a comparison
 * of rows does not end the scan: the reader does.
 */
#define FROM_SELECTOR(column, selector, value) \
	"(" column ", " selector ") >= (" value ", $1) AND " column " <= " value " ORDER BY " column ", " selector
#define BEFORE_SELECTOR(column, selector, value) \
	"(" column ", " selector ") < (" value ", $2) AND " column " >= " value " ORDER BY " column " DESC, " selector " DESC"

/* OFFSET 0: from the projects to their tokens, one by one */
#define ITS_TOKEN(selector) \
	"CROSS JOIN LATERAL (" TOKENS "WHERE t.selector = " selector " OFFSET 0) AS t "
#define OF_PROJECT "SELECT t.* FROM unleash_tokens.api_token_project AS p " ITS_TOKEN("p.selector") "WHERE "

/* The tokens whose projects are all among $4, of those that have one of $3: a window of each project's, put together. */
#define IS_WITHIN(bounds) \
	"NOT EXISTS (SELECT FROM unleash_tokens.api_token_project AS q " \
	"WHERE q.selector = p.selector AND q.project <> ALL (" bounds ") OFFSET 0) "
#define WITHIN(some, down) \
	"SELECT t.* FROM (SELECT DISTINCT l.selector FROM unnest($3) AS b (project) CROSS JOIN LATERAL " \
	"(SELECT p.selector FROM unleash_tokens.api_token_project AS p WHERE " IS_WITHIN("$4") "AND " \
	some("p.project", "p.selector", "(b.project COLLATE \"C\")") WINDOW_WITHIN ") AS l " \
	"ORDER BY l.selector" down WINDOW_WITHIN ") AS s " ITS_TOKEN("s.selector") "ORDER BY t.selector" down
#define WITHIN_IN_ORDER \
	"SELECT t.* FROM (SELECT DISTINCT p.selector FROM unleash_tokens.api_token_project AS p " \
	"WHERE p.project = ANY ($4) AND " IS_WITHIN("$4") "OFFSET 0) AS s " ITS_TOKEN("s.selector") "WHERE "

#define SELECTORS TEXTOID, TEXTOID
#define NAMES TEXTOID, TEXTOID, TEXTOID
#define TIMES TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID

#define WIRE_TIME(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"

const UtStatement ut_statements[UT_PLANS] = {
	[UT_PLAN_HAS_PROJECT] = {
		"SELECT FROM unleash_tokens.project WHERE id = $1",
	1, {TEXTOID}, true},
	[UT_PLAN_HAS_ENVIRONMENT] = {
		"SELECT FROM unleash_tokens.environment WHERE name = $1",
	1, {TEXTOID}, true},
	[UT_PLAN_LOCK_ENVIRONMENT] = {
		"SELECT 1 FROM unleash_tokens.environment WHERE name = $1 FOR KEY SHARE",
	1, {TEXTOID}, true},
	[UT_PLAN_LOCK_PROJECTS] = {
		"SELECT u.ord FROM unnest($1) WITH ORDINALITY AS u (id, ord) "
		"JOIN unleash_tokens.project AS p ON p.id = u.id COLLATE \"C\" "
		"ORDER BY p.id FOR KEY SHARE OF p",
	1, {TEXTARRAYOID}, true},
	[UT_PLAN_COUNT] = {
		"SELECT count(*) FROM (SELECT FROM unleash_tokens.api_token LIMIT $1) AS t",
	1, {INT8OID}},

	/* where direct.c leaves it to a statement; the columns in their order */
	[UT_PLAN_INSERT] = {
		"INSERT INTO unleash_tokens.api_token (" ROW_COLUMNS ") "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (selector) DO NOTHING",
	12, {ROW_TYPES}, true},
	[UT_PLAN_INSERT_WHOLE] = {
		"INSERT INTO unleash_tokens.api_token (" ROW_COLUMNS ", rotatable, "
		"next_verifier, activate_by, grace, old_until, rate_limit, rate_period, rate_burst, allowed_ips) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21) "
		"ON CONFLICT (selector) DO NOTHING",
		21, {ROW_TYPES, BOOLOID, BYTEAOID, TIMESTAMPTZOID, INTERVALOID, TIMESTAMPTZOID, INT4OID,
	INT4OID, INT4OID, CIDRARRAYOID}, true},
	[UT_PLAN_INSERT_PROJECTS] = {
		"INSERT INTO unleash_tokens.api_token_project (selector, project, ord) "
		"SELECT $1, u.id, u.ord FROM unnest($2) WITH ORDINALITY AS u (id, ord)",
	2, {TEXTOID, TEXTARRAYOID}, true},
	[UT_PLAN_INSERT_EVENT] = {
		"INSERT INTO unleash_tokens.api_token_event "
		"(type, selector, token_name, actor, actor_selector, data, pre_data) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7)",
	7, {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID, JSONBOID}, true},
	[UT_PLAN_FIND_MANY] = {
		"SELECT " TOKEN_COLUMNS ", u.ord FROM unnest($1) WITH ORDINALITY AS u (selector, ord) "
		"JOIN unleash_tokens.api_token AS t ON t.selector = u.selector COLLATE \"C\"",
	1, {TEXTARRAYOID}},
	[UT_PLAN_FIND_MANY_BY_VERIFIER] = {
		"SELECT " TOKEN_COLUMNS ", u.ord FROM unnest($1) WITH ORDINALITY AS u (verifier, ord) "
		"JOIN unleash_tokens.api_token AS t ON t.verifier = u.verifier AND t.by_verifier",
	1, {BYTEAARRAYOID}},
	[UT_PLAN_LIST] = {
		"SELECT " TOKEN_COLUMNS "FROM unleash_tokens.api_token AS t ORDER BY t.created_at, t.selector",
	0, {0}},
	[UT_PLAN_LIST_BY_NAME] = {
		"SELECT " TOKEN_COLUMNS "FROM unleash_tokens.api_token AS t "
		"WHERE t.token_name = $1 AND t.type = ANY ('{admin,backend,client,frontend}') AND " NAME_KEY " = lower(\"left\"($1, " CppAsString2(UT_NAME_KEY_LEN) ") COLLATE \"C\") "
		"OR t.selector = $1 ORDER BY t.created_at, t.selector",
	1, {TEXTOID}, true},
	[UT_PLAN_LIST_BY_PROJECT] = {
		"SELECT " TOKEN_COLUMNS "FROM unleash_tokens.api_token AS t WHERE NOT t.all_projects AND t.selector IN "
		"(SELECT p.selector FROM unleash_tokens.api_token_project AS p WHERE p.project = $1) "
		"ORDER BY t.created_at, t.selector",
	1, {TEXTOID}, true},

	/*
	 * OFFSET 0 leaves no other plan than from the projects to their tokens,
	 * one by one: no row of other projects is read, and of a token that
	 * reaches further too nothing behind what shows it
	 */
	[UT_PLAN_LIST_WITHIN] = {
		"SELECT t.* FROM (SELECT DISTINCT p.selector FROM unleash_tokens.api_token_project AS p "
		"WHERE p.project = ANY ($1) AND NOT EXISTS (SELECT FROM unleash_tokens.api_token_project AS q "
		"WHERE q.selector = p.selector AND q.project <> ALL ($1) OFFSET 0) OFFSET 0) AS s CROSS JOIN LATERAL "
		"(SELECT " TOKEN_COLUMNS "FROM unleash_tokens.api_token AS t WHERE t.selector = s.selector OFFSET 0) AS t "
		"WHERE NOT t.all_projects ORDER BY t.created_at, t.selector",
	1, {TEXTARRAYOID}, true},
	[UT_PLAN_LOCK] = {
		"SELECT FROM unleash_tokens.api_token WHERE selector = $1 FOR UPDATE",
	1, {TEXTOID}, true},
	[UT_PLAN_UPDATE_EXPIRY] = {
		"UPDATE unleash_tokens.api_token SET expires_at = $2 WHERE selector = $1",
	2, {TEXTOID, TIMESTAMPTZOID}, true},
	[UT_PLAN_UPDATE] = {
		"UPDATE unleash_tokens.api_token SET expires_at = $2, "
		"rate_limit = $3, rate_period = $4, rate_burst = $5, allowed_ips = $6 WHERE selector = $1",
	6, {TEXTOID, TIMESTAMPTZOID, INT4OID, INT4OID, INT4OID, CIDRARRAYOID}, true},
	/* what the rotation before has left behind is moved first */
	[UT_PLAN_UPDATE_ROTATION] = {
		"UPDATE unleash_tokens.api_token AS t SET "
		"verifier = CASE WHEN t.old_until IS NULL THEN t.verifier ELSE t.next_verifier END, "
		"by_verifier = t.by_verifier AND t.old_until IS NULL, next_verifier = $2, activate_by = $3, grace = $4, "
		"old_until = NULL WHERE t.selector = $1",
	4, {TEXTOID, BYTEAOID, TIMESTAMPTZOID, INTERVALOID}, true},
	[UT_PLAN_FINISH_ROTATION] = {
		"UPDATE unleash_tokens.api_token SET verifier = next_verifier, by_verifier = false, "
		"next_verifier = NULL, activate_by = NULL, grace = NULL, old_until = NULL "
		"WHERE selector = $1 AND next_verifier IS NOT NULL",
	1, {TEXTOID}, true},
	[UT_PLAN_CANCEL_ROTATION] = {
		"UPDATE unleash_tokens.api_token SET next_verifier = NULL, activate_by = NULL, grace = NULL "
		"WHERE selector = $1 AND next_verifier IS NOT NULL AND old_until IS NULL",
	1, {TEXTOID}, true},
	[UT_PLAN_LOCK_EXPIRED] = {
		"SELECT selector FROM unleash_tokens.api_token WHERE expires_at <= $1 ORDER BY selector FOR UPDATE",
	1, {TIMESTAMPTZOID}},
	[UT_PLAN_FIND_LONGER] = {LONGER, 2, {FLOAT8OID, TEXTOID}},
	[UT_PLAN_LOCK_LONGER] = {LONGER " FOR UPDATE OF t", 2, {FLOAT8OID, TEXTOID}},
	[UT_PLAN_DELETE_EVENTS] = {
		"WITH old AS (SELECT id FROM unleash_tokens.api_token_event WHERE at <= $1 FOR UPDATE), "
		"gone AS (DELETE FROM unleash_tokens.api_token_event AS e USING old WHERE e.id = old.id RETURNING 1) "
		"SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM old)",
	1, {TIMESTAMPTZOID}},
	[UT_PLAN_UNKNOWN_ENVIRONMENTS] = {
		"SELECT u.ord FROM unnest($1) WITH ORDINALITY AS u (name, ord) WHERE u.name IS NOT NULL "
		"AND NOT EXISTS (SELECT FROM unleash_tokens.environment AS e WHERE e.name = u.name COLLATE \"C\")",
	1, {TEXTARRAYOID}},
	[UT_PLAN_UNKNOWN_PROJECTS] = {
		"SELECT u.ord FROM unnest($1) WITH ORDINALITY AS u (id, ord) "
		"WHERE NOT EXISTS (SELECT FROM unleash_tokens.project AS p WHERE p.id = u.id COLLATE \"C\")",
	1, {TEXTARRAYOID}},
	[UT_PLAN_INSERT_MANY] = {
		"INSERT INTO unleash_tokens.api_token (" NEW_COLUMNS ", created_by) "
		"SELECT " NEW_COLUMNS ", $9 FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) AS u (" NEW_COLUMNS ")",
	9, {NEW_TYPES, TEXTOID}, true},
	[UT_PLAN_INSERT_MANY_WHOLE] = {
		"INSERT INTO unleash_tokens.api_token (" NEW_COLUMNS ", " LATER_COLUMNS ", created_by) "
		"SELECT " NEW_COLUMNS ", " LATER_VALUES ", $14 FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) "
		"AS u (" NEW_COLUMNS ", " LATER_COLUMNS ")",
	14, {NEW_TYPES, LATER_TYPES, TEXTOID}, true},
	[UT_PLAN_IMPORT] = {
		"INSERT INTO unleash_tokens.api_token (" NEW_COLUMNS ", " USED_COLUMNS ", created_by) "
		"SELECT " NEW_COLUMNS ", " USED_COLUMNS ", $12 FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) "
		"AS u (" NEW_COLUMNS ", " USED_COLUMNS ") " UNLESS_KNOWN,
	12, {NEW_TYPES, USED_TYPES, TEXTOID}, true},
	[UT_PLAN_IMPORT_WHOLE] = {
		"INSERT INTO unleash_tokens.api_token (" NEW_COLUMNS ", " USED_COLUMNS ", " LATER_COLUMNS ", created_by) "
		"SELECT " NEW_COLUMNS ", " USED_COLUMNS ", " LATER_VALUES ", $17 "
		"FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) "
		"AS u (" NEW_COLUMNS ", " USED_COLUMNS ", " LATER_COLUMNS ") " UNLESS_KNOWN,
	17, {NEW_TYPES, USED_TYPES, LATER_TYPES, TEXTOID}, true},
	[UT_PLAN_IMPORT_PROJECTS] = {
		"INSERT INTO unleash_tokens.api_token_project (selector, project, ord) "
		"SELECT * FROM unnest($1, $2, $3)",
	3, {TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID}, true},
	[UT_PLAN_IMPORT_EVENTS] = {
		"INSERT INTO unleash_tokens.api_token_event "
		"(type, selector, token_name, data, actor) "
		"SELECT 'api-token-created', u.*, $4 FROM unnest($1, $2, $3) AS u",
	4, {TEXTARRAYOID, TEXTARRAYOID, JSONBARRAYOID, TEXTOID}, true},

	/*
	 * by place, not once more by selector; a row that was changed before it
	 * was locked waits for the next time
	 */
	[UT_PLAN_UPDATE_SEEN] = {
		"UPDATE unleash_tokens.api_token AS t SET seen_at = u.at "
		"FROM (SELECT selector, ctid FROM unleash_tokens.api_token WHERE selector = ANY ($1) "
		"ORDER BY selector FOR NO KEY UPDATE SKIP LOCKED) AS l "
		"JOIN unnest($1, $2) AS u (selector, at) ON l.selector = u.selector COLLATE \"C\" "
		"WHERE t.ctid = l.ctid AND (t.seen_at IS NULL OR t.seen_at < u.at)",
	2, {TEXTARRAYOID, TIMESTAMPTZARRAYOID}, true},

	/*
	 * by the token's own use; the old secret goes on from the use that was
	 * noted last, so that a late write lengthens the grace
	 */
	[UT_PLAN_ACTIVATE] = {
		"WITH a AS (UPDATE unleash_tokens.api_token AS t SET old_until = u.at + t.grace "
		"FROM (SELECT selector, ctid FROM unleash_tokens.api_token WHERE selector = ANY ($1) "
		"AND next_verifier IS NOT NULL AND old_until IS NULL ORDER BY selector FOR NO KEY UPDATE SKIP LOCKED) AS l "
		"JOIN unnest($1, $2, $3) AS u (selector, at, mark) ON l.selector = u.selector COLLATE \"C\" "
		"WHERE t.ctid = l.ctid AND " ACTIVATES " RETURNING t.selector, t.token_name, t.old_until) "
		"INSERT INTO unleash_tokens.api_token_event (type, selector, token_name, actor, actor_selector, data) "
		"SELECT 'api-token-rotation-activated', a.selector, a.token_name, a.token_name, a.selector, "
		"jsonb_build_object('rotation', jsonb_build_object('state', 'grace', "
		"'oldUntil', to_char(a.old_until AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'))) FROM a",
	3, {TEXTARRAYOID, TIMESTAMPTZARRAYOID, BYTEAARRAYOID}, true},
	[UT_PLAN_FIND_UNSEEN] = {
		"SELECT u.ord FROM ROWS FROM (unnest($1), unnest($2)) WITH ORDINALITY AS u (selector, at, ord) "
		"JOIN unleash_tokens.api_token AS t ON t.selector = u.selector COLLATE \"C\" "
		"WHERE t.seen_at IS NULL OR t.seen_at < u.at",
	2, {TEXTARRAYOID, TIMESTAMPTZARRAYOID}, true},
	[UT_PLAN_FIND_UNSEEN_MARKED] = {
		"SELECT u.ord FROM ROWS FROM (unnest($1), unnest($2), unnest($3)) WITH ORDINALITY AS u (selector, at, mark, ord) "
		"JOIN unleash_tokens.api_token AS t ON t.selector = u.selector COLLATE \"C\" "
		"WHERE t.seen_at IS NULL OR t.seen_at < u.at OR " ACTIVATES,
	3, {TEXTARRAYOID, TIMESTAMPTZARRAYOID, BYTEAARRAYOID}, true},
	[UT_PLAN_READ_NOTICE] = {
		"SELECT up_to, selector FROM unleash_tokens.expiry_notice WHERE days = $1",
	1, {INT4OID}, true},
	[UT_PLAN_LOCK_NOTICE] = {
		"SELECT up_to, selector FROM unleash_tokens.expiry_notice WHERE days = $1 FOR UPDATE",
	1, {INT4OID}, true},
	[UT_PLAN_INSERT_NOTICE] = {
		"INSERT INTO unleash_tokens.expiry_notice (days, up_to, selector) VALUES ($1, '-infinity', '') ON CONFLICT DO NOTHING",
	1, {INT4OID}, true},
	[UT_PLAN_MOVE_NOTICE] = {
		"UPDATE unleash_tokens.expiry_notice SET up_to = $2, selector = $3 WHERE days = $1",
	3, {INT4OID, TIMESTAMPTZOID, TEXTOID}, true},
	/* a row without an event: a trigger has swallowed that */
	[UT_PLAN_INSERT_NOTICES] = {
		"WITH due AS MATERIALIZED (SELECT t.selector, t.token_name, t.expires_at FROM unleash_tokens.api_token AS t "
		"WHERE (t.expires_at, t.selector) > ($2, $3) AND t.expires_at < $4 ORDER BY t.expires_at, t.selector LIMIT $5), "
		"told AS (INSERT INTO unleash_tokens.api_token_event (type, selector, token_name, actor, data) "
		"SELECT 'api-token-expiring', d.selector, d.token_name, 'unleash_tokens worker', jsonb_build_object('days', $1, "
		"'expiresAt', to_char(d.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')) FROM due AS d RETURNING id, selector) "
		"SELECT d.selector, d.token_name, d.expires_at, t.id FROM due AS d LEFT JOIN told AS t ON t.selector = d.selector "
		"ORDER BY d.expires_at, d.selector",
	5, {INT4OID, TIMESTAMPTZOID, TEXTOID, TIMESTAMPTZOID, INT8OID}, true},
	[UT_PLAN_FIND_SUBSCRIBED] = {
		"SELECT FROM pg_subscription_rel WHERE srrelid = $1 LIMIT 1",
	1, {OIDOID}, true},
	[UT_PLAN_LOCK_SCOPED] = {
		"SELECT FROM unleash_tokens.api_token WHERE selector = ANY ($1) "
		"AND NOT all_projects ORDER BY selector FOR UPDATE",
	1, {TEXTARRAYOID}},
	[UT_PLAN_LOCK_ALL_SCOPED] = {
		"SELECT FROM unleash_tokens.api_token WHERE NOT all_projects "
		"ORDER BY selector FOR UPDATE",
	0, {0}},
	[UT_PLAN_FIND_SCOPELESS] = {
		"SELECT t.selector FROM unleash_tokens.api_token AS t "
		"WHERE NOT t.all_projects AND ($1 IS NULL OR t.selector = ANY ($1)) "
		"AND NOT EXISTS (SELECT FROM unleash_tokens.api_token_project AS p "
		"WHERE p.selector = t.selector) ORDER BY t.selector",
	1, {TEXTARRAYOID}},
	[UT_PLAN_DELETE] = {
		"DELETE FROM unleash_tokens.api_token WHERE selector = $1",
	1, {TEXTOID}, true},
	[UT_PLAN_SET_GUARD_ROLE] = {
		"INSERT INTO unleash_tokens.guard_role (type, environment, project, role) VALUES ($1, $2, $3, $4) "
		"ON CONFLICT ON CONSTRAINT guard_role_key DO UPDATE SET role = EXCLUDED.role",
	4, {TEXTOID, TEXTOID, TEXTOID, TEXTOID}, true},
	[UT_PLAN_LOCK_GUARD_ROLE] = {
		"SELECT FROM unleash_tokens.guard_role " SAME_CHOICES " FOR UPDATE",
	3, {TEXTOID, TEXTOID, TEXTOID}},
	[UT_PLAN_DROP_GUARD_ROLE] = {
		"DELETE FROM unleash_tokens.guard_role " SAME_CHOICES,
	3, {TEXTOID, TEXTOID, TEXTOID}},
	[UT_PLAN_LOCK_INSTALL_PROJECT] = {
		"SELECT FROM unleash_tokens.project WHERE id = $1 ->> 'id' AND origin = 'install' FOR UPDATE",
	1, {JSONBOID}},
	[UT_PLAN_DELETE_INSTALL_PROJECT] = {
		"DELETE FROM unleash_tokens.project AS r WHERE r.id = $1 ->> 'id' AND r.origin = 'install' "
		"AND NOT EXISTS (SELECT FROM unleash_tokens.api_token_project AS p WHERE p.project = r.id)",
	1, {JSONBOID}},
	[UT_PLAN_FIND_INSTALL_PROJECT] = {
		"SELECT FROM unleash_tokens.project AS r WHERE r.id = $1 ->> 'id' AND r.origin = 'install' "
		"AND NOT EXISTS (SELECT FROM unleash_tokens.api_token_project AS p WHERE p.project = r.id)",
	1, {JSONBOID}},
	[UT_PLAN_LOCK_INSTALL_ENVIRONMENT] = {
		"SELECT FROM unleash_tokens.environment WHERE name = $1 ->> 'name' AND origin = 'install' FOR UPDATE",
	1, {JSONBOID}},
	[UT_PLAN_DELETE_INSTALL_ENVIRONMENT] = {
		"DELETE FROM unleash_tokens.environment AS r WHERE r.name = $1 ->> 'name' AND r.origin = 'install' "
		"AND NOT EXISTS (SELECT FROM unleash_tokens.api_token AS t WHERE t.environment = r.name)",
	1, {JSONBOID}},
	[UT_PLAN_FIND_INSTALL_ENVIRONMENT] = {
		"SELECT FROM unleash_tokens.environment AS r WHERE r.name = $1 ->> 'name' AND r.origin = 'install' "
		"AND NOT EXISTS (SELECT FROM unleash_tokens.api_token AS t WHERE t.environment = r.name)",
	1, {JSONBOID}},
	[UT_PLAN_LOCK_NOTICE_ROW] = {
		"SELECT FROM unleash_tokens.expiry_notice WHERE days = ($1 ->> 'days')::integer FOR UPDATE",
	1, {JSONBOID}},
	[UT_PLAN_DELETE_NOTICE_ROW] = {
		"DELETE FROM unleash_tokens.expiry_notice WHERE days = ($1 ->> 'days')::integer",
	1, {JSONBOID}},
	[UT_PLAN_FIND_NOTICE_ROW] = {
		"SELECT FROM unleash_tokens.expiry_notice WHERE days = ($1 ->> 'days')::integer",
	1, {JSONBOID}},

	/* enum UtTokenState; in the order of the pages, so by their key too */
	[UT_PLAN_COUNT_STATES] = {
		"SELECT t.type, CASE WHEN t.expires_at <= $3 THEN 3 WHEN t.old_until > $3 THEN 2 "
		"WHEN t.old_until IS NULL AND t.activate_by > $3 THEN 1 ELSE 0 END::bigint, count(*), "
		"count(*) FILTER (WHERE t.expires_at <= $4), count(*) FILTER (WHERE t.expires_at <= $5), "
		"count(*) FILTER (WHERE t.expires_at <= $6) "
		"FROM unleash_tokens.api_token AS t WHERE t.ctid >= $1 AND t.ctid < $2 GROUP BY 1, 2",
	6, {TIDOID, TIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID}, true},

	/*
	 * those that came with the extension, and no function that somebody else
	 * put beside them
	 */
	[UT_PLAN_FIND_CHECK] = {
		"SELECT p.oid FROM pg_proc AS p JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' "
		"WHERE p.pronamespace = 'unleash_tokens'::regnamespace AND p.prorettype = 'unleash_tokens.finding'::regtype AND p.pronargs = 0 "
		"ORDER BY p.proname OFFSET $1 LIMIT 1",
	1, {INT8OID}, true},

	[UT_PLAN_PAGE] = {
		TOKENS "WHERE t.selector >= $1 AND t.selector < $2 ORDER BY t.selector" WINDOW,
	2, {SELECTORS}, true, true},
	[UT_PLAN_PAGE_DOWN] = {
		TOKENS "WHERE t.selector >= $1 AND t.selector < $2 ORDER BY t.selector DESC" WINDOW,
	2, {SELECTORS}, true, true},
	[UT_PLAN_PAGE_OF_PROJECT] = {
		OF_PROJECT FROM_SELECTOR("p.project", "p.selector", "$3") WINDOW,
	3, {SELECTORS, TEXTOID}, true, true},
	[UT_PLAN_PAGE_OF_PROJECT_DOWN] = {
		OF_PROJECT BEFORE_SELECTOR("p.project", "p.selector", "$3") WINDOW,
	3, {SELECTORS, TEXTOID}, true, true},
	[UT_PLAN_PAGE_OF_TYPE] = {TOKENS "WHERE t.type = $4 AND " UPWARDS(NAME_KEY), 4, {NAMES, TEXTOID}, true, true},
	[UT_PLAN_PAGE_OF_TYPE_DOWN] = {TOKENS "WHERE t.type = $4 AND " DOWNWARDS(NAME_KEY), 4, {NAMES, TEXTOID}, true, true},
	[UT_PLAN_PAGE_BY_NAME] = {OF_EACH_TYPE(UPWARDS(NAME_KEY), ""), 3, {NAMES}, true, true},
	[UT_PLAN_PAGE_BY_NAME_DOWN] = {OF_EACH_TYPE(DOWNWARDS(NAME_KEY), " DESC"), 3, {NAMES}, true, true},
	[UT_PLAN_PAGE_BY_EXPIRY] = {TOKENS "WHERE " UPWARDS("t.expires_at"), 3, {TIMES}, true, true},
	[UT_PLAN_PAGE_BY_EXPIRY_DOWN] = {TOKENS "WHERE " DOWNWARDS("t.expires_at"), 3, {TIMES}, true, true},
	[UT_PLAN_PAGE_BY_ROTATION] = {TOKENS "WHERE " ROTATED UPWARDS(ROTATION_KEY), 3, {TIMES}, true, true},
	[UT_PLAN_PAGE_BY_ROTATION_DOWN] = {TOKENS "WHERE " ROTATED DOWNWARDS(ROTATION_KEY), 3, {TIMES}, true, true},
	[UT_PLAN_PAGE_WITHIN] = {WITHIN(FROM_SELECTOR, ""), 4, {SELECTORS, TEXTARRAYOID, TEXTARRAYOID}, true},
	[UT_PLAN_PAGE_WITHIN_DOWN] = {WITHIN(BEFORE_SELECTOR, " DESC"), 4, {SELECTORS, TEXTARRAYOID, TEXTARRAYOID}, true},
	[UT_PLAN_PAGE_WITHIN_BY_NAME] = {WITHIN_IN_ORDER UPWARDS(NAME_KEY), 4, {NAMES, TEXTARRAYOID}, true},
	[UT_PLAN_PAGE_WITHIN_BY_NAME_DOWN] = {WITHIN_IN_ORDER DOWNWARDS(NAME_KEY), 4, {NAMES, TEXTARRAYOID}, true},
	[UT_PLAN_PAGE_WITHIN_BY_EXPIRY] = {WITHIN_IN_ORDER UPWARDS("t.expires_at"), 4, {TIMES, TEXTARRAYOID}, true},
	[UT_PLAN_PAGE_WITHIN_BY_EXPIRY_DOWN] = {WITHIN_IN_ORDER DOWNWARDS("t.expires_at"), 4, {TIMES, TEXTARRAYOID}, true},
	[UT_PLAN_PAGE_WITHIN_BY_ROTATION] = {WITHIN_IN_ORDER ROTATED UPWARDS(ROTATION_KEY), 4, {TIMES, TEXTARRAYOID}, true},
	[UT_PLAN_PAGE_WITHIN_BY_ROTATION_DOWN] = {WITHIN_IN_ORDER ROTATED DOWNWARDS(ROTATION_KEY), 4, {TIMES, TEXTARRAYOID}, true},

	/* the newest first; empty stands for any, and NULL for what is not wanted */
	[UT_PLAN_PAGE_OF_EVENTS] = {
		"SELECT e.id, CASE WHEN ($2 = '' OR e.selector = $2) AND ($3 = '' OR e.type = $3) THEN json_build_object("
		"'id', e.id, 'at', " WIRE_TIME("e.at") ", 'type', e.type, 'selector', e.selector, 'tokenName', e.token_name, "
		"'actor', e.actor, 'actorSelector', e.actor_selector, 'data', e.data, 'preData', e.pre_data)::text END "
		"FROM unleash_tokens.api_token_event AS e WHERE e.id < $1 ORDER BY e.id DESC" WINDOW,
	3, {INT8OID, TEXTOID, TEXTOID}, true, true},
	[UT_PLAN_LIST_CHOICES] = {
		"SELECT json_build_object("
		"'environments', (SELECT coalesce(json_agg(json_build_object('name', e.name, 'type', e.type, 'enabled', e.enabled) "
		"ORDER BY e.name), '[]') FROM unleash_tokens.environment AS e), "
		"'projects', (SELECT coalesce(json_agg(p.id ORDER BY p.id), '[]') FROM "
		"(SELECT p.id FROM unleash_tokens.project AS p ORDER BY p.id LIMIT $1) AS p))::text",
	1, {INT8OID}},
	[UT_PLAN_LIST_FINDINGS] = {
		"SELECT json_build_object('check', d.check_name, 'status', d.status, 'detail', d.detail, 'hint', d.hint)::text "
		"FROM unleash_tokens.doctor() AS d",
	0, {0}},
	[UT_PLAN_ADD_PROJECT] = {
		"INSERT INTO unleash_tokens.project (id) VALUES ($1) ON CONFLICT DO NOTHING",
	1, {TEXTOID}, true},
	[UT_PLAN_ADD_ENVIRONMENT] = {
		"INSERT INTO unleash_tokens.environment (name, type, enabled) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
	3, {TEXTOID, TEXTOID, BOOLOID}, true},
	[UT_PLAN_HOLD_PROJECT] = {
		"SELECT FROM unleash_tokens.project WHERE id = $1 FOR UPDATE",
	1, {TEXTOID}, true},
	[UT_PLAN_HOLD_ENVIRONMENT] = {
		"SELECT FROM unleash_tokens.environment WHERE name = $1 FOR UPDATE",
	1, {TEXTOID}, true},
	[UT_PLAN_RENAME_PROJECT] = {
		"UPDATE unleash_tokens.project SET id = $2 WHERE id = $1",
	2, {TEXTOID, TEXTOID}, true},
	[UT_PLAN_RENAME_ENVIRONMENT] = {
		"UPDATE unleash_tokens.environment SET name = $2 WHERE name = $1",
	2, {TEXTOID, TEXTOID}, true},
	[UT_PLAN_REMOVE_PROJECT] = {
		"DELETE FROM unleash_tokens.project WHERE id = $1",
	1, {TEXTOID}, true},
	[UT_PLAN_REMOVE_ENVIRONMENT] = {
		"DELETE FROM unleash_tokens.environment WHERE name = $1",
	1, {TEXTOID}, true},
	[UT_PLAN_FIND_OF_ENVIRONMENT] = {
		"SELECT selector FROM unleash_tokens.api_token WHERE environment = $1 LIMIT 1",
	1, {TEXTOID}},
};
