--
-- What CREATE EXTENSION makes, what it refuses, and how it goes away.
--
-- Later tests run in this database and find the extension there.
--
CREATE EXTENSION unleash_tokens;

-- What a fresh install holds: the projects and environments of Unleash 8.
SELECT id, origin FROM unleash_tokens.project ORDER BY id;
SELECT name, type, enabled, origin FROM unleash_tokens.environment ORDER BY name;
SELECT (SELECT count(*) FROM unleash_tokens.api_token) AS tokens,
	   (SELECT count(*) FROM unleash_tokens.api_token_project) AS scopes,
	   (SELECT count(*) FROM unleash_tokens.api_token_event) AS events;

-- It works without pgcrypto, which later tests judge it by, from a schema that none looks into.
SELECT count(*) AS pgcrypto FROM pg_extension WHERE extname = 'pgcrypto';
CREATE SCHEMA "Crypto schema";
CREATE EXTENSION pgcrypto SCHEMA "Crypto schema";
SELECT unleash_tokens.validate_api_token(
	unleash_tokens.create_api_token('{"type": "client", "tokenName": "first"}') ->> 'secret')
	- 'selector' AS validated;

--
-- Every object has a comment: members of the extension, what belongs to its
-- relations, and the schema, which is no member.  Indexes that carry a
-- constraint are made by that constraint, types of rows and arrays (members
-- since PostgreSQL 17) by what they are of.
--
CREATE VIEW pg_temp.own_objects AS
	WITH member AS (
		SELECT d.classid, d.objid
		FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid
		WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
			AND e.extname = 'unleash_tokens'
			AND NOT EXISTS (SELECT FROM pg_type AS t WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid
							AND (t.typtype = 'c' OR t.typelem <> 0))
	), relation AS (
		SELECT c.oid, c.relkind FROM pg_class c
		WHERE c.relnamespace = 'unleash_tokens'::regnamespace
	)
	SELECT classid, objid, 0 AS objsubid FROM member
	UNION
	SELECT 'pg_namespace'::regclass, 'unleash_tokens'::regnamespace, 0
	UNION
	SELECT 'pg_class'::regclass, oid, 0 FROM relation
	WHERE relkind <> 'c' AND (relkind <> 'i' OR NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = relation.oid))
	UNION
	SELECT 'pg_type'::regclass, t.oid, 0 FROM pg_type AS t JOIN relation ON relation.oid = t.typrelid WHERE relkind = 'c'
	UNION
	SELECT 'pg_proc'::regclass, oid, 0 FROM pg_proc
	WHERE pronamespace = 'unleash_tokens'::regnamespace
	UNION
	SELECT 'pg_class'::regclass, a.attrelid, a.attnum
	FROM pg_attribute a JOIN relation r ON r.oid = a.attrelid
	WHERE r.relkind IN ('r', 'p', 'v', 'm', 'c') AND a.attnum > 0 AND NOT a.attisdropped
	UNION
	SELECT 'pg_trigger'::regclass, t.oid, 0
	FROM pg_trigger t JOIN relation r ON r.oid = t.tgrelid
	WHERE NOT t.tgisinternal;

SELECT count(*) > 40 AS many_objects,
	   count(*) FILTER (WHERE classid = 'pg_trigger'::regclass) > 0 AS some_triggers
FROM pg_temp.own_objects;

SELECT pg_describe_object(o.classid, o.objid, o.objsubid) AS uncommented
FROM pg_temp.own_objects o
	LEFT JOIN pg_description d ON d.classoid = o.classid AND d.objoid = o.objid
		AND d.objsubid = o.objsubid
WHERE d.description IS NULL OR d.description !~ '\S.*\.$'
ORDER BY 1;
DROP VIEW pg_temp.own_objects;

-- The name of the schema is part of the product.
\set VERBOSITY terse
ALTER EXTENSION unleash_tokens SET SCHEMA public;

--
-- DROP takes all of it along, and the same session goes on with the next one:
-- plans and what it remembers of the extension are of the first.
--
DROP EXTENSION unleash_tokens;
SELECT count(*) AS left_behind FROM (
	SELECT relnamespace FROM pg_class UNION ALL
	SELECT pronamespace FROM pg_proc UNION ALL
	SELECT typnamespace FROM pg_type) AS o (nsp)
WHERE nsp = 'unleash_tokens'::regnamespace;
CREATE EXTENSION unleash_tokens;
SELECT id, origin FROM unleash_tokens.project ORDER BY id;
SELECT unleash_tokens.validate_api_token(
	unleash_tokens.create_api_token('{"type": "client", "tokenName": "again", "project": "default"}') ->> 'secret')
	- 'selector' AS validated;
SET unleash_tokens.max_tokens = 1;
SELECT unleash_tokens.create_api_token('{"type": "admin", "tokenName": "too many"}');
RESET unleash_tokens.max_tokens;

--
-- The schema must be ours alone: what was put there before could be mistaken
-- for ours, and its owner may change what is in it.
--
DROP EXTENSION unleash_tokens;
DROP SCHEMA unleash_tokens;
\set VERBOSITY default
\set SHOW_CONTEXT never

-- A role that may create a schema, and one that owns it.
CREATE ROLE regress_unleash_squatter;
CREATE SCHEMA unleash_tokens AUTHORIZATION regress_unleash_squatter;
CREATE EXTENSION unleash_tokens;
\set VERBOSITY sqlstate
DROP SCHEMA unleash_tokens;

CREATE SCHEMA unleash_tokens CREATE TABLE project (id text);
CREATE EXTENSION unleash_tokens;
DROP SCHEMA unleash_tokens CASCADE;

CREATE SCHEMA unleash_tokens CREATE SEQUENCE unrelated;
CREATE EXTENSION unleash_tokens;
DROP SCHEMA unleash_tokens CASCADE;

CREATE SCHEMA unleash_tokens;
CREATE FUNCTION unleash_tokens.create_api_token(text) RETURNS jsonb LANGUAGE sql AS 'SELECT null::jsonb';
CREATE EXTENSION unleash_tokens;
DROP SCHEMA unleash_tokens CASCADE;

CREATE SCHEMA unleash_tokens;
CREATE TYPE unleash_tokens.mood AS ENUM ('squatting');
CREATE EXTENSION unleash_tokens;
DROP SCHEMA unleash_tokens CASCADE;

CREATE SCHEMA unleash_tokens;
CREATE OPERATOR unleash_tokens.= (FUNCTION = texteq, LEFTARG = text, RIGHTARG = text);
CREATE EXTENSION unleash_tokens;
DROP SCHEMA unleash_tokens CASCADE;

-- It does not move to another schema either.
CREATE EXTENSION unleash_tokens SCHEMA public;

-- Nothing of these attempts is left.
SELECT count(*) AS extensions FROM pg_extension WHERE extname = 'unleash_tokens';

-- An empty schema of a superuser is welcome.
CREATE SCHEMA unleash_tokens;
CREATE EXTENSION unleash_tokens;
DROP ROLE regress_unleash_squatter;

--
-- A library and SQL objects of different versions say so.  The check is made
-- once a session, so this needs a new one.
--
\c -
\set VERBOSITY default
BEGIN;
UPDATE pg_extension SET extversion = '0.0' WHERE extname = 'unleash_tokens';
SAVEPOINT before;
SELECT unleash_tokens.create_api_token('{"type": "admin", "tokenName": "mismatch"}');
ROLLBACK TO before;
SELECT unleash_tokens.validate_api_token('any text');
ROLLBACK TO before;
DELETE FROM unleash_tokens.project WHERE id = 'default';
INSERT INTO unleash_tokens.backup_row VALUES (1, 'project', '{"id": "mismatch"}');
ROLLBACK;

-- The session is not spoilt by that.
SELECT unleash_tokens.validate_api_token('any text') IS NULL AS refused;
