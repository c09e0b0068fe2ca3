/* unleash_tokens--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION unleash_tokens CASCADE" to load this file. \quit

-- ===========================================================================
-- The schema must be ours alone: objects that somebody else put there before
-- could be mistaken for ours.
-- ===========================================================================

DO LANGUAGE plpgsql $$
BEGIN
	IF EXISTS (SELECT FROM pg_catalog.pg_depend d
			   WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
				 AND d.refobjid OPERATOR(pg_catalog.=) '@extschema@'::pg_catalog.regnamespace
				 AND d.classid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_extension'::pg_catalog.regclass)
	   OR EXISTS (SELECT FROM pg_catalog.pg_namespace n, pg_catalog.pg_roles r
				  WHERE n.oid OPERATOR(pg_catalog.=) '@extschema@'::pg_catalog.regnamespace
					AND r.oid OPERATOR(pg_catalog.=) n.nspowner AND NOT r.rolsuper)
	THEN
		RAISE EXCEPTION 'schema "@extschema@" exists already and is not empty or not owned by a superuser'
			USING ERRCODE = 'duplicate_schema',
				  HINT = 'Drop or rename that schema, then create the extension again.';
	END IF;
END
$$;

-- ===========================================================================
-- The registries that the rules for tokens check against
-- ===========================================================================

CREATE TABLE unleash_tokens.project (
	id			text COLLATE "C" NOT NULL,
	created_at	timestamptz NOT NULL DEFAULT pg_catalog.now(),
	origin		text COLLATE "C" NOT NULL DEFAULT 'user',
	CONSTRAINT project_pkey PRIMARY KEY (id),
	CONSTRAINT project_id_check CHECK (
		pg_catalog.length(id) BETWEEN 1 AND 100
		AND id OPERATOR(pg_catalog.<>) ALL (ARRAY['*', '[]'])
		AND id OPERATOR(pg_catalog.!~) CASE pg_catalog.getdatabaseencoding()
			WHEN 'SQL_ASCII' THEN E'[\\u0001-\\u001F\\u007F]|\\u00C2[\\u0080-\\u009F]'
			ELSE E'[\\u0001-\\u001F\\u007F-\\u009F]' END),
	CONSTRAINT project_origin_check CHECK (origin OPERATOR(pg_catalog.=) ANY (ARRAY['install', 'user']))
);

CREATE TABLE unleash_tokens.environment (
	name		text COLLATE "C" NOT NULL,
	type		text COLLATE "C" NOT NULL DEFAULT 'production',
	enabled		boolean NOT NULL DEFAULT true,
	created_at	timestamptz NOT NULL DEFAULT pg_catalog.now(),
	origin		text COLLATE "C" NOT NULL DEFAULT 'user',
	CONSTRAINT environment_pkey PRIMARY KEY (name),
	CONSTRAINT environment_name_check CHECK (
		pg_catalog.length(name) BETWEEN 1 AND 100
		AND name OPERATOR(pg_catalog.<>) ALL (ARRAY['*', '[]'])
		AND name OPERATOR(pg_catalog.!~) CASE pg_catalog.getdatabaseencoding()
			WHEN 'SQL_ASCII' THEN E'[\\u0001-\\u001F\\u007F]|\\u00C2[\\u0080-\\u009F]'
			ELSE E'[\\u0001-\\u001F\\u007F-\\u009F]' END),
	CONSTRAINT environment_type_check CHECK (pg_catalog.length(type) BETWEEN 1 AND 100),
	CONSTRAINT environment_origin_check CHECK (origin OPERATOR(pg_catalog.=) ANY (ARRAY['install', 'user']))
);

COMMENT ON TABLE unleash_tokens.project IS 'The projects a token may be scoped to. Removing one deletes the tokens that reach nothing else; renaming one keeps them.';
COMMENT ON COLUMN unleash_tokens.project.id IS '1 to 100 characters, no control characters, not * or [].';
COMMENT ON COLUMN unleash_tokens.project.created_at IS 'When the project was entered here.';
COMMENT ON COLUMN unleash_tokens.project.origin IS 'install: made by CREATE EXTENSION and unchanged since; gives way to a restored row as long as no token uses it. user: any other.';
COMMENT ON TABLE unleash_tokens.environment IS 'The environments a token may belong to. One that tokens use cannot be removed; renaming one keeps them.';
COMMENT ON COLUMN unleash_tokens.environment.name IS '1 to 100 characters, no control characters, not * or [].';
COMMENT ON COLUMN unleash_tokens.environment.type IS 'What the environment is for, in Unleash one of development, test, preproduction and production; not interpreted.';
COMMENT ON COLUMN unleash_tokens.environment.enabled IS 'Shown only: a token may be made for a disabled environment (Unleash 8.2.0, A-env-09).';
COMMENT ON COLUMN unleash_tokens.environment.created_at IS 'When the environment was entered here.';
COMMENT ON COLUMN unleash_tokens.environment.origin IS 'install: made by CREATE EXTENSION and unchanged since; gives way to a restored row as long as no token uses it. user: any other.';

-- ===========================================================================
-- Tokens
-- ===========================================================================

CREATE TABLE unleash_tokens.api_token (
	selector		text COLLATE "C" NOT NULL,
	verifier		bytea NOT NULL,
	token_name		text COLLATE "C" NOT NULL,
	type			text COLLATE "C" NOT NULL,
	environment		text COLLATE "C",
	all_projects	boolean NOT NULL,
	by_verifier		boolean NOT NULL DEFAULT false,
	created_at		timestamptz NOT NULL,
	expires_at		timestamptz,
	seen_at			timestamptz,
	alias			text,
	created_by		text,
	CONSTRAINT api_token_pkey PRIMARY KEY (selector),
	CONSTRAINT api_token_environment_fkey FOREIGN KEY (environment)
		REFERENCES unleash_tokens.environment (name) ON UPDATE CASCADE,
	CONSTRAINT api_token_selector_check CHECK (selector OPERATOR(pg_catalog.~) '^[A-Za-z0-9_-]{22}$'),
	CONSTRAINT api_token_verifier_check CHECK (pg_catalog.octet_length(verifier) OPERATOR(pg_catalog.=) 32),
	CONSTRAINT api_token_type_check CHECK (type OPERATOR(pg_catalog.=) ANY (ARRAY['client', 'backend', 'frontend', 'admin'])),
	CONSTRAINT api_token_environment_check CHECK ((environment IS NULL) OPERATOR(pg_catalog.=) (type OPERATOR(pg_catalog.=) 'admin')),
	CONSTRAINT api_token_scope_check CHECK (all_projects OR type OPERATOR(pg_catalog.<>) 'admin'),
	CONSTRAINT api_token_time_check CHECK (
		created_at BETWEEN '0001-01-01 00:00:00+00 BC' AND '9999-12-31 23:59:59.999999+00'
		AND expires_at BETWEEN '0001-01-01 00:00:00+00 BC' AND '9999-12-31 23:59:59.999999+00'
		AND seen_at BETWEEN '0001-01-01 00:00:00+00 BC' AND '9999-12-31 23:59:59.999999+00')
);

CREATE INDEX api_token_name_idx ON unleash_tokens.api_token USING hash (token_name);
CREATE UNIQUE INDEX api_token_verifier_idx ON unleash_tokens.api_token (verifier) WHERE by_verifier;

COMMENT ON TABLE unleash_tokens.api_token IS 'The tokens. A secret is never here: only its SHA-256 digest.';
COMMENT ON COLUMN unleash_tokens.api_token.selector IS 'Public name of the token: the 22 characters behind .v2_ in its secret.';
COMMENT ON COLUMN unleash_tokens.api_token.verifier IS 'SHA-256 of the UTF-8 bytes of the whole secret.';
COMMENT ON COLUMN unleash_tokens.api_token.token_name IS 'What the token is called; not unique.';
COMMENT ON COLUMN unleash_tokens.api_token.type IS 'client, backend, frontend or admin.';
COMMENT ON COLUMN unleash_tokens.api_token.environment IS 'The one environment of the token; NULL exactly for type admin, which reaches all.';
COMMENT ON COLUMN unleash_tokens.api_token.all_projects IS 'True: every project. False: those in api_token_project, none if there are none.';
COMMENT ON COLUMN unleash_tokens.api_token.by_verifier IS 'True for an imported secret without a selector of its own: it is found by its digest.';
COMMENT ON COLUMN unleash_tokens.api_token.created_at IS 'When the token was made, in milliseconds.';
COMMENT ON COLUMN unleash_tokens.api_token.expires_at IS 'From this time on the token is refused; NULL = never.';
COMMENT ON COLUMN unleash_tokens.api_token.seen_at IS 'When the token was last used; NULL = not yet.';
COMMENT ON COLUMN unleash_tokens.api_token.alias IS 'A former secret''s alias, as imported; not a credential.';
COMMENT ON COLUMN unleash_tokens.api_token.created_by IS 'Name of the token or SQL role that made it.';
COMMENT ON INDEX unleash_tokens.api_token_name_idx IS 'Finds tokens by name.';
COMMENT ON INDEX unleash_tokens.api_token_verifier_idx IS 'Finds imported tokens by their digest.';

CREATE TABLE unleash_tokens.api_token_project (
	selector	text COLLATE "C" NOT NULL,
	project		text COLLATE "C" NOT NULL,
	ord			integer NOT NULL,
	CONSTRAINT api_token_project_pkey PRIMARY KEY (selector, project),
	CONSTRAINT api_token_project_selector_fkey FOREIGN KEY (selector)
		REFERENCES unleash_tokens.api_token (selector) ON UPDATE CASCADE ON DELETE CASCADE,
	CONSTRAINT api_token_project_project_fkey FOREIGN KEY (project)
		REFERENCES unleash_tokens.project (id) ON UPDATE CASCADE ON DELETE CASCADE
);

CREATE INDEX api_token_project_project_idx ON unleash_tokens.api_token_project (project);

COMMENT ON TABLE unleash_tokens.api_token_project IS 'The projects of tokens that do not reach all. No row means no project.';
COMMENT ON COLUMN unleash_tokens.api_token_project.selector IS 'The token.';
COMMENT ON COLUMN unleash_tokens.api_token_project.project IS 'A project it reaches.';
COMMENT ON COLUMN unleash_tokens.api_token_project.ord IS 'Place of the project in the list the token was made with, from 1.';
COMMENT ON INDEX unleash_tokens.api_token_project_project_idx IS 'Finds the tokens of a project that is removed or renamed.';

CREATE TABLE unleash_tokens.api_token_event (
	id				bigint GENERATED ALWAYS AS IDENTITY,
	at				timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	type			text COLLATE "C" NOT NULL,
	selector		text COLLATE "C" NOT NULL,
	token_name		text COLLATE "C" NOT NULL,
	actor			text NOT NULL,
	actor_selector	text COLLATE "C",
	data			jsonb,
	pre_data		jsonb,
	CONSTRAINT api_token_event_pkey PRIMARY KEY (id),
	CONSTRAINT api_token_event_type_check CHECK (type OPERATOR(pg_catalog.=) ANY (
		ARRAY['api-token-created', 'api-token-updated', 'api-token-deleted']))
);

COMMENT ON TABLE unleash_tokens.api_token_event IS 'What happened to tokens, written in the transaction of the change. Never holds a secret or a verifier.';
COMMENT ON COLUMN unleash_tokens.api_token_event.id IS 'Rises with every event; gaps are normal.';
COMMENT ON COLUMN unleash_tokens.api_token_event.at IS 'When it happened.';
COMMENT ON COLUMN unleash_tokens.api_token_event.type IS 'api-token-created, api-token-updated or api-token-deleted.';
COMMENT ON COLUMN unleash_tokens.api_token_event.selector IS 'The token it happened to.';
COMMENT ON COLUMN unleash_tokens.api_token_event.token_name IS 'The name of that token.';
COMMENT ON COLUMN unleash_tokens.api_token_event.actor IS 'Who did it: the name of the calling token, or the SQL role.';
COMMENT ON COLUMN unleash_tokens.api_token_event.actor_selector IS 'The calling token; NULL for a SQL role.';
COMMENT ON COLUMN unleash_tokens.api_token_event.data IS 'The token afterwards; NULL when it was deleted.';
COMMENT ON COLUMN unleash_tokens.api_token_event.pre_data IS 'The token before; NULL when it was made.';

-- ===========================================================================
-- What a dump takes along.  pg_dump copies the tables of an extension one by
-- one, and pg_restore -j loads them side by side, against their foreign keys,
-- which exist by then.  So one table stands for all: its dump states the rows of
-- the others in an order that fits, and a trigger puts them where they belong.
-- It never holds a row.
-- ===========================================================================

CREATE TABLE unleash_tokens.backup_row (
	ord			integer NOT NULL,
	relation	text COLLATE "C" NOT NULL,
	data		jsonb NOT NULL,
	CONSTRAINT backup_row_check CHECK (false)
);

COMMENT ON TABLE unleash_tokens.backup_row IS 'Always empty. Dumped and restored in place of the other tables; the constraint fails when the trigger that takes the rows is disabled.';
COMMENT ON COLUMN unleash_tokens.backup_row.ord IS 'Rises from the tables that others refer to, to those that refer to them.';
COMMENT ON COLUMN unleash_tokens.backup_row.relation IS 'The table the row belongs to; "no project" and "no environment" say that a row of a fresh install was removed.';
COMMENT ON COLUMN unleash_tokens.backup_row.data IS 'The row, its columns as keys.';

SELECT pg_catalog.pg_extension_config_dump('unleash_tokens.backup_row', $$
	UNION ALL SELECT 0, 'no project', pg_catalog.jsonb_build_object('id', s.id) FROM (VALUES ('default')) AS s (id)
	WHERE NOT EXISTS (SELECT FROM unleash_tokens.project AS p WHERE p.id OPERATOR(pg_catalog.=) s.id)
	UNION ALL SELECT 0, 'no environment', pg_catalog.jsonb_build_object('name', s.name) FROM (VALUES ('development'), ('production')) AS s (name)
	WHERE NOT EXISTS (SELECT FROM unleash_tokens.environment AS e WHERE e.name OPERATOR(pg_catalog.=) s.name)
	UNION ALL SELECT 1, 'project', pg_catalog.to_jsonb(p) FROM unleash_tokens.project AS p
	UNION ALL SELECT 1, 'environment', pg_catalog.to_jsonb(e) FROM unleash_tokens.environment AS e
	UNION ALL SELECT 2, 'api_token', pg_catalog.to_jsonb(t) FROM unleash_tokens.api_token AS t
	UNION ALL SELECT 3, 'api_token_project', pg_catalog.to_jsonb(l) FROM unleash_tokens.api_token_project AS l
	UNION ALL SELECT 4, 'api_token_event', pg_catalog.to_jsonb(v) FROM unleash_tokens.api_token_event AS v
	ORDER BY 1$$);
SELECT pg_catalog.pg_extension_config_dump('unleash_tokens.api_token_event_id_seq', '');

-- ===========================================================================
-- Triggers
-- ===========================================================================

CREATE FUNCTION unleash_tokens.mark_changed() RETURNS trigger
LANGUAGE C SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_mark_changed';

CREATE FUNCTION unleash_tokens.delete_scopeless_tokens() RETURNS trigger
LANGUAGE C SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_delete_scopeless_tokens';

CREATE FUNCTION unleash_tokens.restore_row() RETURNS trigger
LANGUAGE C SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_restore_row';

COMMENT ON FUNCTION unleash_tokens.mark_changed() IS 'Trigger of project and environment: a changed row is no longer that of the install.';
COMMENT ON FUNCTION unleash_tokens.delete_scopeless_tokens() IS 'Trigger of api_token_project: deletes, with an event, a token whose last project is gone.';
COMMENT ON FUNCTION unleash_tokens.restore_row() IS 'Trigger of backup_row: puts a restored row into its table. Error 22023 for a table it does not know.';

CREATE TRIGGER mark_changed BEFORE UPDATE ON unleash_tokens.project
	FOR EACH ROW EXECUTE FUNCTION unleash_tokens.mark_changed();
CREATE TRIGGER mark_changed BEFORE UPDATE ON unleash_tokens.environment
	FOR EACH ROW EXECUTE FUNCTION unleash_tokens.mark_changed();
CREATE TRIGGER delete_scopeless_tokens AFTER DELETE ON unleash_tokens.api_token_project
	REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION unleash_tokens.delete_scopeless_tokens();
CREATE TRIGGER delete_scopeless_tokens_truncate AFTER TRUNCATE ON unleash_tokens.api_token_project
	FOR EACH STATEMENT EXECUTE FUNCTION unleash_tokens.delete_scopeless_tokens();
CREATE TRIGGER restore_row BEFORE INSERT ON unleash_tokens.backup_row
	FOR EACH ROW EXECUTE FUNCTION unleash_tokens.restore_row();

COMMENT ON TRIGGER mark_changed ON unleash_tokens.project IS 'See the function.';
COMMENT ON TRIGGER mark_changed ON unleash_tokens.environment IS 'See the function.';
COMMENT ON TRIGGER delete_scopeless_tokens ON unleash_tokens.api_token_project IS 'See the function.';
COMMENT ON TRIGGER delete_scopeless_tokens_truncate ON unleash_tokens.api_token_project IS 'See the function.';
COMMENT ON TRIGGER restore_row ON unleash_tokens.backup_row IS 'See the function.';

-- ===========================================================================
-- What a fresh install holds (as Unleash 8)
-- ===========================================================================

INSERT INTO unleash_tokens.project (id, origin) VALUES ('default', 'install');
INSERT INTO unleash_tokens.environment (name, type, origin) VALUES
	('development', 'development', 'install'),
	('production', 'production', 'install');

COMMENT ON SEQUENCE unleash_tokens.api_token_event_id_seq IS 'Numbers the events.';

-- ===========================================================================
-- The SQL door
-- ===========================================================================

CREATE FUNCTION unleash_tokens.create_api_token(jsonb) RETURNS jsonb
LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_create_api_token';

CREATE FUNCTION unleash_tokens.validate_api_token(secret text) RETURNS jsonb
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_validate_api_token';

CREATE FUNCTION unleash_tokens.validate_api_tokens(
	secrets text[],
	OUT ordinal bigint, OUT selector text, OUT token_name text, OUT type text,
	OUT projects text[], OUT environment text, OUT expires_at timestamptz) RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_validate_api_tokens';

-- VOLATILE, though they only read: PostgREST 12 does not run a STABLE function for a
-- HEAD request, which then answers 200 to anyone.
CREATE FUNCTION unleash_tokens.get_all_api_tokens() RETURNS jsonb
LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_get_all_api_tokens';

CREATE FUNCTION unleash_tokens.get_api_tokens_by_name(name text) RETURNS jsonb
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_get_api_tokens_by_name';

CREATE FUNCTION unleash_tokens.update_api_token(token text, changes jsonb) RETURNS jsonb
LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_update_api_token';

CREATE FUNCTION unleash_tokens.delete_api_token(token text) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_delete_api_token';

CREATE FUNCTION unleash_tokens.import_api_tokens(tokens jsonb) RETURNS jsonb
LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_import_api_tokens';

CREATE FUNCTION unleash_tokens.purge_expired(older_than interval) RETURNS bigint
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_purge_expired';

CREATE FUNCTION unleash_tokens.purge_events(older_than interval) RETURNS bigint
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_purge_events';

CREATE FUNCTION unleash_tokens.list_refusals(
	OUT name text, OUT status integer, OUT sqlstate text,
	OUT message text, OUT hint text) RETURNS SETOF record
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'unleash_tokens_list_refusals';

COMMENT ON FUNCTION unleash_tokens.create_api_token(jsonb) IS 'Makes a token from {"type", "tokenName", "environment", "projects" or "project", "expiresAt"} and shows its secret, once. Errors: 22023 for a bad request, P0001 at the limit unleash_tokens.max_tokens.';
COMMENT ON FUNCTION unleash_tokens.validate_api_token(text) IS 'The token of a secret as {"selector", "tokenName", "type", "projects", "environment", "expiresAt"}; NULL when the secret is unknown, mistyped, expired or deleted. Sees every committed change at once, in any isolation level.';
COMMENT ON FUNCTION unleash_tokens.validate_api_tokens(text[]) IS 'The same for many secrets at once: a row for each valid one, with its place in the array.';
COMMENT ON FUNCTION unleash_tokens.get_all_api_tokens() IS 'Every token as {"tokens": [...]} by createdAt and selector; secret holds the selector. Error 54000 above 256 MB: read the view api_tokens.';
COMMENT ON FUNCTION unleash_tokens.get_api_tokens_by_name(text) IS 'The tokens of that name, and the one of that selector, as get_all_api_tokens() shows them.';
COMMENT ON FUNCTION unleash_tokens.update_api_token(text, jsonb) IS 'Sets the expiry of the token that a selector or a full secret names from {"expiresAt"}, null clears it; the changed token, or NULL when there is none. Error: 22023 for a bad request.';
COMMENT ON FUNCTION unleash_tokens.delete_api_token(text) IS 'Deletes the token that a selector or a full secret names, at once and for good; false when there is none.';
COMMENT ON FUNCTION unleash_tokens.import_api_tokens(jsonb) IS 'Makes the secrets of another Unleash valid here: takes what its GET list returns, or objects with selector and verifier; keeps digests only. Reports {"imported", "unchanged", "refused": [...], "weak": [...]}; a second run changes nothing.';
COMMENT ON FUNCTION unleash_tokens.purge_expired(interval) IS 'Deletes the tokens that have been expired for at least that long, with an event each; returns how many.';
COMMENT ON FUNCTION unleash_tokens.purge_events(interval) IS 'Deletes the events that are at least that old; returns how many.';
COMMENT ON FUNCTION unleash_tokens.list_refusals() IS 'Every refusal there is: error name, HTTP status, SQLSTATE, message and hint.';

CREATE VIEW unleash_tokens.api_tokens WITH (security_barrier) AS
	SELECT t.selector, t.token_name, t.type, t.environment,
		   CASE WHEN t.all_projects THEN ARRAY['*']
				ELSE ARRAY(SELECT p.project::text FROM unleash_tokens.api_token_project AS p
						   WHERE p.selector OPERATOR(pg_catalog.=) t.selector ORDER BY p.ord)
		   END AS projects,
		   t.all_projects, t.by_verifier, t.created_at, t.expires_at, t.seen_at, t.alias, t.created_by
	FROM unleash_tokens.api_token AS t;

CREATE VIEW unleash_tokens.api_token_events WITH (security_barrier) AS
	SELECT e.id, e.at, e.type, e.selector, e.token_name, e.actor, e.actor_selector, e.data, e.pre_data
	FROM unleash_tokens.api_token_event AS e;

COMMENT ON VIEW unleash_tokens.api_tokens IS 'The tokens without their verifiers, to filter, order and page.';
COMMENT ON COLUMN unleash_tokens.api_tokens.selector IS 'Public name of the token.';
COMMENT ON COLUMN unleash_tokens.api_tokens.token_name IS 'What the token is called; not unique.';
COMMENT ON COLUMN unleash_tokens.api_tokens.type IS 'client, backend, frontend or admin.';
COMMENT ON COLUMN unleash_tokens.api_tokens.environment IS 'The one environment of the token; NULL for type admin, which reaches all.';
COMMENT ON COLUMN unleash_tokens.api_tokens.projects IS 'The projects it reaches in the order they were given; {*} for all, {} for none.';
COMMENT ON COLUMN unleash_tokens.api_tokens.all_projects IS 'Whether it reaches every project.';
COMMENT ON COLUMN unleash_tokens.api_tokens.by_verifier IS 'True for an imported secret without a selector of its own.';
COMMENT ON COLUMN unleash_tokens.api_tokens.created_at IS 'When the token was made.';
COMMENT ON COLUMN unleash_tokens.api_tokens.expires_at IS 'From this time on the token is refused; NULL = never.';
COMMENT ON COLUMN unleash_tokens.api_tokens.seen_at IS 'When the token was last used; NULL = not yet.';
COMMENT ON COLUMN unleash_tokens.api_tokens.alias IS 'A former secret''s alias, as imported; not a credential.';
COMMENT ON COLUMN unleash_tokens.api_tokens.created_by IS 'Name of the token or SQL role that made it.';
COMMENT ON VIEW unleash_tokens.api_token_events IS 'What happened to tokens, and who did it.';
COMMENT ON COLUMN unleash_tokens.api_token_events.id IS 'Rises with every event; gaps are normal.';
COMMENT ON COLUMN unleash_tokens.api_token_events.at IS 'When it happened.';
COMMENT ON COLUMN unleash_tokens.api_token_events.type IS 'api-token-created, api-token-updated or api-token-deleted.';
COMMENT ON COLUMN unleash_tokens.api_token_events.selector IS 'The token it happened to.';
COMMENT ON COLUMN unleash_tokens.api_token_events.token_name IS 'The name of that token.';
COMMENT ON COLUMN unleash_tokens.api_token_events.actor IS 'Who did it: the name of the calling token, or the SQL role.';
COMMENT ON COLUMN unleash_tokens.api_token_events.actor_selector IS 'The calling token; NULL for a SQL role.';
COMMENT ON COLUMN unleash_tokens.api_token_events.data IS 'The token afterwards; NULL when it was deleted.';
COMMENT ON COLUMN unleash_tokens.api_token_events.pre_data IS 'The token before; NULL when it was made.';

-- ===========================================================================
-- The REST door: one router, called by PostgREST behind nginx
-- ===========================================================================

CREATE DOMAIN unleash_tokens."*/*" AS bytea;

CREATE FUNCTION unleash_tokens.rest_api(bytea) RETURNS unleash_tokens."*/*"
LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_rest_api';

CREATE FUNCTION unleash_tokens.rest_api() RETURNS unleash_tokens."*/*"
LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_rest_api_get';

CREATE FUNCTION unleash_tokens.rest_read(bytea) RETURNS unleash_tokens."*/*"
LANGUAGE C STABLE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_rest_read';

COMMENT ON DOMAIN unleash_tokens."*/*" IS 'Makes PostgREST send the bytes as they are, for any Accept header.';
COMMENT ON FUNCTION unleash_tokens.rest_api(bytea) IS 'Entry of the gateway for requests that may write; reads the request from request.headers, answers by response.status and response.headers. The credential is the header Authorization.';
COMMENT ON FUNCTION unleash_tokens.rest_api() IS 'Entry of the gateway for GET and HEAD; runs READ ONLY, so a standby answers too.';
COMMENT ON FUNCTION unleash_tokens.rest_read(bytea) IS 'Entry of the gateway for POST requests that only read; STABLE, so that PostgREST runs it READ ONLY and a standby answers too.';

-- ===========================================================================
-- Privileges: nothing for PUBLIC; http/roles.sql grants to the gateway
-- ===========================================================================

REVOKE ALL ON SCHEMA unleash_tokens FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA unleash_tokens FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA unleash_tokens FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA unleash_tokens FROM PUBLIC;
REVOKE ALL ON TYPE unleash_tokens."*/*" FROM PUBLIC;

COMMENT ON SCHEMA unleash_tokens IS 'API tokens: create, list, change, delete and authenticate them.';

-- let a running PostgREST see the functions; no one listens otherwise
NOTIFY pgrst, 'reload schema';
