--
-- The whole surface of the extension.  A change of it shows here, so that none
-- goes unnoticed: what is printed is what users and PostgREST rely on.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
RESET client_min_messages;
\pset null ''

-- Functions, with every grant to others than the owner.
SELECT p.proname AS function, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result,
	l.lanname AS language, CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END AS volatility,
	CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' ELSE 'unsafe' END AS parallel,
	p.proisstrict AS strict, p.prosecdef AS definer, array_to_string(p.proconfig, '; ') AS settings, CASE WHEN l.lanname = 'c' THEN p.prosrc END AS symbol,
	(SELECT string_agg(g.grantee::regrole::text, ' ') FROM aclexplode(p.proacl) AS g WHERE g.grantee <> p.proowner) AS granted
FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
WHERE p.pronamespace = 'unleash_tokens'::regnamespace
ORDER BY p.proname, pg_get_function_arguments(p.oid) COLLATE "C";

-- Whatever runs with its owner's rights says where it looks for things.
SELECT oid::regprocedure AS without_path FROM pg_proc
WHERE pronamespace = 'unleash_tokens'::regnamespace AND prosecdef
	AND NOT coalesce(proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)
ORDER BY 1;

-- Nothing that reads tables may be called from a parallel worker, or be folded
-- into a constant.
SELECT oid::regprocedure AS unsafe FROM pg_proc
WHERE pronamespace = 'unleash_tokens'::regnamespace AND prosecdef AND (proparallel <> 'u' OR provolatile = 'i')
ORDER BY 1;

-- Tables and views
SELECT c.relname AS relation, c.relkind AS kind, a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type,
	CASE WHEN a.attnotnull THEN 'not null' END AS "null", co.collname AS collation,
	pg_get_expr(d.adbin, d.adrelid) AS "default", nullif(a.attidentity, '') AS identity
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
	LEFT JOIN pg_collation AS co ON co.oid = a.attcollation
WHERE c.relnamespace = 'unleash_tokens'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p')
ORDER BY c.relname COLLATE "C", a.attnum;

-- What tables and views are made with: no condition of a user's may run below a
-- view that hides columns.
SELECT relname AS relation, array_to_string(reloptions, ', ') AS options FROM pg_class
WHERE relnamespace = 'unleash_tokens'::regnamespace AND relkind IN ('r', 'v') ORDER BY relname COLLATE "C";

-- Keys and checks by name; what they say is tested in "registry".
SELECT conrelid::regclass AS "table", conname AS "constraint", contype AS kind,
	CASE WHEN contype = 'f' THEN pg_get_constraintdef(oid) END AS reference
FROM pg_constraint
WHERE connamespace = 'unleash_tokens'::regnamespace AND contype <> 'n' AND conrelid <> 0
ORDER BY conrelid::regclass::text COLLATE "C", conname;
SELECT indexrelid::regclass AS index, am.amname AS method, i.indisunique AS "unique", pg_get_expr(i.indpred, i.indrelid) AS predicate
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS am ON am.oid = c.relam
WHERE c.relnamespace = 'unleash_tokens'::regnamespace
ORDER BY c.relname COLLATE "C";
SELECT tgrelid::regclass AS "table", tgname AS trigger, tgfoid::regproc AS function, tgenabled AS enabled
FROM pg_trigger WHERE NOT tgisinternal AND tgfoid IN (SELECT oid FROM pg_proc WHERE pronamespace = 'unleash_tokens'::regnamespace)
ORDER BY tgrelid::regclass::text COLLATE "C", tgname;
SELECT oid::regtype AS type, typtype AS kind, typbasetype::regtype AS base FROM pg_type
WHERE typnamespace = 'unleash_tokens'::regnamespace AND typtype <> 'c' AND typelem = 0 ORDER BY typname;

-- What a dump takes along
SELECT o::regclass AS dumped FROM pg_extension, unnest(extconfig) AS o WHERE extname = 'unleash_tokens' ORDER BY o::regclass::text COLLATE "C";

-- Settings, but for usage_slots, which there is only with the library preloaded
LOAD 'unleash_tokens';
SELECT name, vartype, context, unit, min_val, max_val, boot_val, short_desc FROM pg_settings
WHERE name LIKE 'unleash\_tokens.%' AND name NOT IN ('unleash_tokens.usage_slots', 'unleash_tokens.rate_slots') ORDER BY name;
