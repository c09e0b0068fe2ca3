/* unleash_tokens--1.0--2.0.sql */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION unleash_tokens UPDATE TO '2.0'" to load this file. \quit

-- ===========================================================================
-- The library that is loaded must know the functions below: a server that
-- preloads an older one keeps it until it is restarted.
-- ===========================================================================

DO LANGUAGE plpgsql $$
BEGIN
	CREATE FUNCTION unleash_tokens.library_version() RETURNS text
	LANGUAGE C STABLE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'unleash_tokens_library_version';

	IF pg_catalog.string_to_array(unleash_tokens.library_version(), '.')::pg_catalog.int4[] OPERATOR(pg_catalog.<) '{2,0}' THEN
		RAISE undefined_function;
	END IF;
EXCEPTION WHEN undefined_function THEN
	RAISE EXCEPTION 'the library of unleash_tokens that is loaded is older than version 2.0'
		USING ERRCODE = 'object_not_in_prerequisite_state',
			  HINT = 'Restart the server when unleash_tokens is in shared_preload_libraries, else begin a new session; then try again.';
END
$$;

COMMENT ON FUNCTION unleash_tokens.library_version() IS 'The version of the library that this session runs: with shared_preload_libraries that of the last start of the server.';

-- room on each page for the rows that one batch of seen_at writes anew, so that indexes are left alone (HOT): a batch
-- takes few rows of each page where tokens are many, and pruning makes room again before the next
ALTER TABLE unleash_tokens.api_token SET (fillfactor = 70);

-- an admin token may be bound to projects; it manages the tokens of those
ALTER TABLE unleash_tokens.api_token DROP CONSTRAINT api_token_scope_check;

-- Names are looked for by how they begin, whatever the case of ASCII letters, and equal ones by the same index.  Cut, since a whole name
-- can be too long for a B-tree; with the selector, so that a page of many equal ones can begin anywhere.  The type in front saves an
-- index of its own: there are four, and who asks for any goes along four parts at once.
DROP INDEX unleash_tokens.api_token_name_idx;
CREATE INDEX api_token_name_idx ON unleash_tokens.api_token (type, pg_catalog.lower(pg_catalog."left"(token_name, 64)), selector);
DROP INDEX unleash_tokens.api_token_project_project_idx;
CREATE INDEX api_token_project_project_idx ON unleash_tokens.api_token_project (project, selector);
COMMENT ON INDEX unleash_tokens.api_token_project_project_idx IS 'Finds the tokens of a project, by their selectors.';
COMMENT ON INDEX unleash_tokens.api_token_name_idx IS 'Finds tokens by their type and their name, or how it begins.';

-- reads the tables without a statement, so it needs neither the owner's privileges nor a search_path
ALTER FUNCTION unleash_tokens.validate_api_token(text) SECURITY INVOKER;
ALTER FUNCTION unleash_tokens.validate_api_token(text) RESET ALL;

COMMENT ON FUNCTION unleash_tokens.create_api_token(jsonb) IS 'Makes a token from {"type", "tokenName", "environment", "projects" or "project", "expiresAt", "rateLimit", "allowedIps"} and shows its secret, once. Errors: 22023 for a bad request, P0001 at the limit unleash_tokens.max_tokens.';
COMMENT ON FUNCTION unleash_tokens.validate_api_token(text) IS 'The token of a secret as {"selector", "tokenName", "type", "projects", "environment", "expiresAt"}; NULL when the secret is unknown, mistyped, expired or deleted, and for a token with allowedIps, since no address is known here. No limit counts this. Sees every committed change at once, in any isolation level.';
COMMENT ON FUNCTION unleash_tokens.update_api_token(text, jsonb) IS 'Changes the token that a selector or a full secret names by {"expiresAt", "rateLimit", "allowedIps"}, at least one of them; null takes away. The changed token, or NULL when there is none. Error: 22023 for a bad request.';
COMMENT ON FUNCTION unleash_tokens.purge_expired(interval) IS 'Deletes the tokens that have been expired for at least that long, with an event each; returns how many. Error 22023 for an age below zero or above 1000 years.';
COMMENT ON FUNCTION unleash_tokens.purge_events(interval) IS 'Deletes the events that are at least that old; returns how many. Error 22023 for an age below zero or above 1000 years.';

-- PostgREST makes the statement_timeout of a function that of its request
ALTER FUNCTION unleash_tokens.rest_api(bytea) SET statement_timeout = '10s';
ALTER FUNCTION unleash_tokens.rest_api() SET statement_timeout = '10s';
ALTER FUNCTION unleash_tokens.rest_read(bytea) SET statement_timeout = '10s';

-- all that waits in one call of the program authd, which is a gateway as nginx is; a role may execute this and nothing else
CREATE FUNCTION unleash_tokens.authorize_many(bytea[], bytea[], bytea[], bytea[], bytea[], bytea[], bytea[],
	OUT status int, OUT headers text, OUT body bytea) RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_authorize_many';

COMMENT ON FUNCTION unleash_tokens.authorize_many(bytea[], bytea[], bytea[], bytea[], bytea[], bytea[], bytea[]) IS 'Entry of the program authd: answers many requests for /auth, /edge/validate and /health in one call, READ ONLY, a row for each in their order. Each array has one element a request, bytes in UTF-8, NULL for what a request does not have: method, target as sent, key (Authorization without Bearer), address of the client, Content-Type, Content-Encoding, body. headers are lines "Name: value". A row of NULLs: that request ended in an error, which is in the log, and harmed no other. Arrays of different lengths are refused (2202E).';

REVOKE ALL ON FUNCTION unleash_tokens.authorize_many(bytea[], bytea[], bytea[], bytea[], bytea[], bytea[], bytea[]) FROM PUBLIC;

CREATE FUNCTION unleash_tokens.create_api_tokens(jsonb) RETURNS jsonb
LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_create_api_tokens';

COMMENT ON FUNCTION unleash_tokens.create_api_tokens(jsonb) IS 'Makes a token of each element of an array, by the rules of create_api_token(), all or none; an array of what that shows, in the same order. At most 100000 elements. Errors, which name the element, from 0: 22023 for a bad request, P0001 when there would be more than unleash_tokens.max_tokens.';

REVOKE ALL ON FUNCTION unleash_tokens.create_api_tokens(jsonb) FROM PUBLIC;

CREATE FUNCTION unleash_tokens.enforce_lifetime(
	dry_run boolean DEFAULT true,
	OUT selector text, OUT token_name text, OUT type text, OUT created_at timestamptz,
	OUT expires_at timestamptz, OUT new_expires_at timestamptz) RETURNS SETOF record
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_enforce_lifetime';

COMMENT ON FUNCTION unleash_tokens.enforce_lifetime(boolean) IS 'Lists the tokens that expire later than unleash_tokens.max_lifetime after they were made, or never, with the latest expiry there may be; with dry_run false gives them that expiry, with an event each. Older ones then expire at once. Error 55000 without a max_lifetime.';

REVOKE ALL ON FUNCTION unleash_tokens.enforce_lifetime(boolean) FROM PUBLIC;

-- ===========================================================================
-- Rotation
-- ===========================================================================

ALTER TABLE unleash_tokens.api_token
	ADD COLUMN rotatable boolean NOT NULL DEFAULT false,
	ADD COLUMN next_verifier bytea,
	ADD COLUMN activate_by timestamptz,
	ADD COLUMN grace interval,
	ADD COLUMN old_until timestamptz,
	ADD CONSTRAINT api_token_rotation_check CHECK (CASE WHEN next_verifier IS NULL
		THEN activate_by IS NULL AND grace IS NULL AND old_until IS NULL
		ELSE pg_catalog.octet_length(next_verifier) OPERATOR(pg_catalog.=) 32 AND activate_by IS NOT NULL AND grace IS NOT NULL END);

ALTER TABLE unleash_tokens.api_token
	ADD COLUMN rate_limit integer,
	ADD COLUMN rate_period integer,
	ADD COLUMN rate_burst integer,
	ADD COLUMN allowed_ips cidr[],
	ADD CONSTRAINT api_token_rate_check CHECK (
		CASE WHEN rate_limit IS NULL THEN rate_period IS NULL AND rate_burst IS NULL
			ELSE coalesce(rate_limit BETWEEN 1 AND 1000000 AND rate_period BETWEEN 1 AND 86400 AND rate_burst BETWEEN 1 AND 100000, false) END),
	ADD CONSTRAINT api_token_allowed_ips_check CHECK (
		pg_catalog.cardinality(allowed_ips) BETWEEN 1 AND 100 AND pg_catalog.array_position(allowed_ips, NULL) IS NULL);
COMMENT ON COLUMN unleash_tokens.api_token.rate_limit IS 'So many uses in each rate_period; NULL = as the setting unleash_tokens.rate_limit_<type> says.';
COMMENT ON COLUMN unleash_tokens.api_token.rate_period IS 'Seconds; NULL without rate_limit.';
COMMENT ON COLUMN unleash_tokens.api_token.rate_burst IS 'So many uses at once; NULL without rate_limit.';
COMMENT ON COLUMN unleash_tokens.api_token.allowed_ips IS 'The networks from which the token may be used; NULL = from anywhere.';
ALTER TABLE unleash_tokens.api_token_event
	DROP CONSTRAINT api_token_event_type_check,
	ADD CONSTRAINT api_token_event_type_check CHECK (type OPERATOR(pg_catalog.=) ANY (
		ARRAY['api-token-created', 'api-token-updated', 'api-token-deleted', 'api-token-expiring', 'api-token-rotated',
			'api-token-rotation-activated', 'api-token-rotation-finished', 'api-token-rotation-cancelled']));

-- of rotations that go on, when they end
CREATE INDEX api_token_rotation_idx ON unleash_tokens.api_token ((coalesce(old_until, activate_by)), selector) WHERE next_verifier IS NOT NULL;
COMMENT ON INDEX unleash_tokens.api_token_rotation_idx IS 'Finds the tokens in a rotation, by when it ends.';

COMMENT ON COLUMN unleash_tokens.api_token.rotatable IS 'Whether the token may rotate itself through the REST door.';
COMMENT ON COLUMN unleash_tokens.api_token.next_verifier IS 'The digest of the secret that a rotation made; NULL when there is none. The old one counts until old_until, and then no more.';
COMMENT ON COLUMN unleash_tokens.api_token.activate_by IS 'A new secret that was not used by then is dropped: it is refused from this time on.';
COMMENT ON COLUMN unleash_tokens.api_token.grace IS 'How long the old secret counts after the first use of the new one.';
COMMENT ON COLUMN unleash_tokens.api_token.old_until IS 'From this time on the old secret is refused; NULL as long as the new one was not used.';
COMMENT ON COLUMN unleash_tokens.api_token_event.type IS 'api-token-created, -updated, -deleted or -expiring; api-token-rotated, and api-token-rotation-activated, -finished or -cancelled.';
COMMENT ON COLUMN unleash_tokens.api_token_events.type IS 'api-token-created, -updated, -deleted or -expiring; api-token-rotated, and api-token-rotation-activated, -finished or -cancelled.';

CREATE FUNCTION unleash_tokens.rotate_api_token(
	token text, grace interval DEFAULT '1 day', activate_by interval DEFAULT '7 days') RETURNS jsonb
LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_rotate_api_token';

CREATE FUNCTION unleash_tokens.finish_rotation(token text) RETURNS jsonb
LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_finish_rotation';

CREATE FUNCTION unleash_tokens.cancel_rotation(token text) RETURNS jsonb
LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_cancel_rotation';

COMMENT ON FUNCTION unleash_tokens.rotate_api_token(text, interval, interval) IS 'Gives the token that a selector or a full secret names a new secret, and shows it, once. It may be used at once; from its first use on the old one goes on for grace, and without a use before activate_by has passed the new one is dropped and the old one stays. NULL when there is no such token. Errors: 22023 for a length of time that is not allowed, P0001 when an earlier rotation is in its grace, another came first, or the token has expired, 55000 without shared_preload_libraries.';
COMMENT ON FUNCTION unleash_tokens.finish_rotation(text) IS 'Ends the grace of a rotation: the old secret is refused at once. The token, or NULL when there is none. Error P0001 when the new secret was never used, or there is no rotation.';
COMMENT ON FUNCTION unleash_tokens.cancel_rotation(text) IS 'Drops a new secret that was never used; the old one stays. The token, or NULL when there is none. Error P0001 when it was used, or there is no rotation.';

REVOKE ALL ON FUNCTION
	unleash_tokens.rotate_api_token(text, interval, interval),
	unleash_tokens.finish_rotation(text),
	unleash_tokens.cancel_rotation(text)
FROM PUBLIC;

CREATE FUNCTION unleash_tokens.get_seen_at(selector text, stored timestamptz) RETURNS timestamptz
LANGUAGE C VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'unleash_tokens_get_seen_at';

CREATE FUNCTION unleash_tokens.note_usage(selectors text[], times timestamptz[], marks bytea[] DEFAULT '{}') RETURNS bigint
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'unleash_tokens_note_usage';

CREATE FUNCTION unleash_tokens.get_stat(
	OUT validations bigint, OUT refused_malformed bigint, OUT refused_unknown bigint,
	OUT refused_expired bigint, OUT refused_scopeless bigint, OUT refused_elsewhere bigint,
	OUT refused_rate bigint, OUT refused_uncounted bigint,
	OUT notes_held bigint, OUT notes_dropped bigint, OUT flushes bigint,
	OUT last_flush timestamptz, OUT last_error text, OUT last_error_at timestamptz,
	OUT waits_since timestamptz, OUT stats_reset timestamptz) RETURNS record
LANGUAGE C VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'unleash_tokens_get_stat';

CREATE FUNCTION unleash_tokens.stat_reset() RETURNS void
LANGUAGE C VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'unleash_tokens_stat_reset';

CREATE FUNCTION unleash_tokens.metrics() RETURNS text
LANGUAGE C VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'unleash_tokens_metrics';

COMMENT ON FUNCTION unleash_tokens.get_seen_at(text, timestamptz) IS 'The newer of a stored time and the noted use of a token; for the view api_tokens.';
COMMENT ON FUNCTION unleash_tokens.note_usage(text[], timestamptz[], bytea[]) IS 'For standbys: notes that the tokens of these selectors were used at these times, none later than now, and by marks, the first bytes of its digest or NULL, which of them with a new secret that waits for its first use; returns how many. Error 22023 for arrays of different lengths.';
COMMENT ON FUNCTION unleash_tokens.get_stat() IS 'The row of the view stat.';
COMMENT ON FUNCTION unleash_tokens.stat_reset() IS 'Sets the counters of the view stat to zero; notes are kept.';
COMMENT ON FUNCTION unleash_tokens.metrics() IS 'What GET /metrics answers, in Prometheus''s text format 0.0.4: counters of the server, and the tokens of this database as a worker counted them last, with how long ago that was. Has what is older than 10 seconds (doctor(): 60) counted anew in the background, for at most a hundredth of the time. Reads no table; without shared_preload_libraries there is little in it.';

CREATE OR REPLACE VIEW unleash_tokens.api_tokens WITH (security_barrier) AS
	SELECT t.selector, t.token_name, t.type, t.environment,
		   CASE WHEN t.all_projects THEN ARRAY['*']
				ELSE ARRAY(SELECT p.project::text FROM unleash_tokens.api_token_project AS p
						   WHERE p.selector OPERATOR(pg_catalog.=) t.selector ORDER BY p.ord)
		   END AS projects,
		   t.all_projects, t.by_verifier, t.created_at, t.expires_at,
		   unleash_tokens.get_seen_at(t.selector, t.seen_at) AS seen_at, t.alias, t.created_by, t.rotatable,
		   CASE WHEN t.old_until OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp() THEN 'grace'
				WHEN t.old_until IS NULL AND t.activate_by OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp() THEN 'pending'
		   END AS rotation, t.activate_by, t.old_until,
		   t.rate_limit, t.rate_period, t.rate_burst, t.allowed_ips
	FROM unleash_tokens.api_token AS t;

COMMENT ON COLUMN unleash_tokens.api_tokens.rotatable IS 'Whether the token may rotate itself through the REST door.';
COMMENT ON COLUMN unleash_tokens.api_tokens.rotation IS 'pending: a new secret was made and not used yet. grace: it was, and the old one counts until old_until. NULL: one secret counts.';
COMMENT ON COLUMN unleash_tokens.api_tokens.activate_by IS 'From this time on a new secret that was never used is refused.';
COMMENT ON COLUMN unleash_tokens.api_tokens.old_until IS 'From this time on the old secret is refused.';

COMMENT ON COLUMN unleash_tokens.api_tokens.rate_limit IS 'So many uses in each rate_period; NULL = as the setting unleash_tokens.rate_limit_<type> says.';
COMMENT ON COLUMN unleash_tokens.api_tokens.rate_period IS 'Seconds; NULL without rate_limit.';
COMMENT ON COLUMN unleash_tokens.api_tokens.rate_burst IS 'So many uses at once; NULL without rate_limit.';
COMMENT ON COLUMN unleash_tokens.api_tokens.allowed_ips IS 'The networks from which the token may be used; NULL = from anywhere.';

CREATE VIEW unleash_tokens.stat AS SELECT * FROM unleash_tokens.get_stat();

COMMENT ON VIEW unleash_tokens.stat IS 'Validations and notes of use of the whole server since stats_reset; NULL without the library in shared_preload_libraries.';
COMMENT ON COLUMN unleash_tokens.stat.validations IS 'Secrets found valid.';
COMMENT ON COLUMN unleash_tokens.stat.refused_malformed IS 'Refused by their text alone.';
COMMENT ON COLUMN unleash_tokens.stat.refused_unknown IS 'No such token, or another key.';
COMMENT ON COLUMN unleash_tokens.stat.refused_expired IS 'Token expired.';
COMMENT ON COLUMN unleash_tokens.stat.refused_scopeless IS 'Token without a project left.';
COMMENT ON COLUMN unleash_tokens.stat.refused_elsewhere IS 'Not from that address, or from one that is not known.';
COMMENT ON COLUMN unleash_tokens.stat.refused_rate IS 'Found valid, and used more often than its limit allows.';
COMMENT ON COLUMN unleash_tokens.stat.refused_uncounted IS 'Found valid, and refused since there was no room to count the use of a token with a limit: see unleash_tokens.rate_slots.';
COMMENT ON COLUMN unleash_tokens.stat.notes_held IS 'Notes that wait to be written.';
COMMENT ON COLUMN unleash_tokens.stat.notes_dropped IS 'Notes lost: the oldest of a full bucket, or those of a database or extension that is gone.';
COMMENT ON COLUMN unleash_tokens.stat.flushes IS 'Batches written, or sent to the primary.';
COMMENT ON COLUMN unleash_tokens.stat.last_flush IS 'When the last batch was written or sent.';
COMMENT ON COLUMN unleash_tokens.stat.last_error IS 'What last kept a worker from its work.';
COMMENT ON COLUMN unleash_tokens.stat.last_error_at IS 'When that was.';
COMMENT ON COLUMN unleash_tokens.stat.waits_since IS 'Since when there has always been a database whose notes waited for a free worker slot; NULL = none waits.';
COMMENT ON COLUMN unleash_tokens.stat.stats_reset IS 'Since when is counted.';

REVOKE ALL ON FUNCTION
	unleash_tokens.get_seen_at(text, timestamptz),
	unleash_tokens.note_usage(text[], timestamptz[], bytea[]),
	unleash_tokens.get_stat(),
	unleash_tokens.stat_reset(),
	unleash_tokens.metrics()
FROM PUBLIC;
REVOKE ALL ON unleash_tokens.stat FROM PUBLIC;

-- ---- Projects and environments ----

CREATE FUNCTION unleash_tokens.create_project(id text) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_create_project';

CREATE FUNCTION unleash_tokens.rename_project(id text, new_id text) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_rename_project';

CREATE FUNCTION unleash_tokens.delete_project(id text) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_delete_project';

CREATE FUNCTION unleash_tokens.create_environment(name text, type text DEFAULT 'production', enabled boolean DEFAULT true) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_create_environment';

CREATE FUNCTION unleash_tokens.rename_environment(name text, new_name text) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_rename_environment';

CREATE FUNCTION unleash_tokens.delete_environment(name text) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_delete_environment';

COMMENT ON FUNCTION unleash_tokens.create_project(text) IS 'Enters a project that tokens may be scoped to; false when it was there. Error 22023 for an id that is not 1 to 100 characters, has a control character, or is * or [].';
COMMENT ON FUNCTION unleash_tokens.rename_project(text, text) IS 'Renames a project; its tokens keep it. False when there is none. Errors: 22023 for a new id that create_project() refuses, 23505 when there is such a project.';
COMMENT ON FUNCTION unleash_tokens.delete_project(text) IS 'Removes a project, and deletes the tokens that reach no other one, with an event each; false when there is none.';
COMMENT ON FUNCTION unleash_tokens.create_environment(text, text, boolean) IS 'Enters an environment that tokens may belong to; false when it was there, which changes nothing. Error 22023 for a name as that of a project, or a type of other than 1 to 100 characters.';
COMMENT ON FUNCTION unleash_tokens.rename_environment(text, text) IS 'Renames an environment; its tokens keep it. False when there is none. Errors: 22023 for a new name that create_environment() refuses, 23505 when there is such an environment.';
COMMENT ON FUNCTION unleash_tokens.delete_environment(text) IS 'Removes an environment; false when there is none. Error 23503 when tokens belong to it.';

REVOKE ALL ON FUNCTION
	unleash_tokens.create_project(text),
	unleash_tokens.rename_project(text, text),
	unleash_tokens.delete_project(text),
	unleash_tokens.create_environment(text, text, boolean),
	unleash_tokens.rename_environment(text, text),
	unleash_tokens.delete_environment(text)
FROM PUBLIC;

-- ===========================================================================
-- Tokens that are about to expire
-- ===========================================================================

-- by the selector too: many may expire at the same moment, and are gone through in batches
CREATE INDEX api_token_expires_at_idx ON unleash_tokens.api_token (expires_at, selector) WHERE expires_at IS NOT NULL;

COMMENT ON COLUMN unleash_tokens.api_token_event.data IS 'The token afterwards; NULL when it was deleted; of one that is about to expire {"days", "expiresAt"}.';
COMMENT ON COLUMN unleash_tokens.api_token_event.actor IS 'Who did it: the name of the calling token, or the SQL role; unleash_tokens worker for what the server does by itself.';
COMMENT ON COLUMN unleash_tokens.api_token_events.data IS 'The token afterwards; NULL when it was deleted; of one that is about to expire {"days", "expiresAt"}.';
COMMENT ON COLUMN unleash_tokens.api_token_events.actor IS 'Who did it: the name of the calling token, or the SQL role; unleash_tokens worker for what the server does by itself.';

CREATE TABLE unleash_tokens.expiry_notice (
	days		integer NOT NULL,
	up_to		timestamptz NOT NULL,
	selector	text COLLATE "C" NOT NULL,
	CONSTRAINT expiry_notice_pkey PRIMARY KEY (days),
	CONSTRAINT expiry_notice_days_check CHECK (days BETWEEN 1 AND 3650)
);

COMMENT ON TABLE unleash_tokens.expiry_notice IS 'Up to which expiry was told that tokens are about to expire, a row for each number of days in unleash_tokens.expiry_notice.';
COMMENT ON COLUMN unleash_tokens.expiry_notice.days IS 'How many days before.';
COMMENT ON COLUMN unleash_tokens.expiry_notice.up_to IS 'No token that expires earlier is told of again.';
COMMENT ON COLUMN unleash_tokens.expiry_notice.selector IS 'Nor are those that expire at this very time and have this selector or one before it; empty: none.';

CREATE FUNCTION unleash_tokens.get_notice_days() RETURNS integer[]
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'unleash_tokens_get_notice_days';

CREATE VIEW unleash_tokens.api_tokens_expiring WITH (security_barrier) AS
	SELECT a.selector, a.token_name, a.type, a.environment, a.projects, a.all_projects, a.created_at, a.expires_at,
		   pg_catalog.ceil(EXTRACT(epoch FROM a.expires_at OPERATOR(pg_catalog.-) pg_catalog.statement_timestamp()) OPERATOR(pg_catalog./) 86400)::integer AS days_left,
		   a.seen_at, a.created_by
	FROM unleash_tokens.api_tokens AS a
	WHERE a.expires_at OPERATOR(pg_catalog.>) pg_catalog.statement_timestamp()
		AND a.expires_at OPERATOR(pg_catalog.<=) (
			SELECT pg_catalog.statement_timestamp() OPERATOR(pg_catalog.+) pg_catalog.make_interval(hours => 24 OPERATOR(pg_catalog.*) COALESCE(pg_catalog.max(d.days), 30))
			FROM pg_catalog.unnest(unleash_tokens.get_notice_days()) AS d (days));

COMMENT ON INDEX unleash_tokens.api_token_expires_at_idx IS 'Finds tokens by their expiry.';
COMMENT ON FUNCTION unleash_tokens.get_notice_days() IS 'The days of the setting unleash_tokens.expiry_notice, the fewest first; for the view api_tokens_expiring.';
COMMENT ON VIEW unleash_tokens.api_tokens_expiring IS 'The tokens that are going to expire within the most days that unleash_tokens.expiry_notice names, or within 30 when it names none.';
COMMENT ON COLUMN unleash_tokens.api_tokens_expiring.selector IS 'Public name of the token.';
COMMENT ON COLUMN unleash_tokens.api_tokens_expiring.token_name IS 'What the token is called; not unique.';
COMMENT ON COLUMN unleash_tokens.api_tokens_expiring.type IS 'client, backend, frontend or admin.';
COMMENT ON COLUMN unleash_tokens.api_tokens_expiring.environment IS 'The one environment of the token; NULL for type admin, which reaches all.';
COMMENT ON COLUMN unleash_tokens.api_tokens_expiring.projects IS 'The projects it reaches in the order they were given; {*} for all, {} for none.';
COMMENT ON COLUMN unleash_tokens.api_tokens_expiring.all_projects IS 'Whether it reaches every project.';
COMMENT ON COLUMN unleash_tokens.api_tokens_expiring.created_at IS 'When the token was made.';
COMMENT ON COLUMN unleash_tokens.api_tokens_expiring.expires_at IS 'From this time on the token is refused.';
COMMENT ON COLUMN unleash_tokens.api_tokens_expiring.days_left IS 'In how many days of 24 hours that is, rounded up; at least 1.';
COMMENT ON COLUMN unleash_tokens.api_tokens_expiring.seen_at IS 'When the token was last used; NULL = not yet.';
COMMENT ON COLUMN unleash_tokens.api_tokens_expiring.created_by IS 'Name of the token or SQL role that made it.';

REVOKE ALL ON FUNCTION unleash_tokens.get_notice_days() FROM PUBLIC;
REVOKE ALL ON unleash_tokens.api_tokens_expiring, unleash_tokens.expiry_notice FROM PUBLIC;

-- ===========================================================================
-- Guard: somebody's own tables and API behind these tokens
-- ===========================================================================

CREATE TABLE unleash_tokens.guard_role (
	type		text COLLATE "C",
	environment	text COLLATE "C",
	project		text COLLATE "C",
	role		text COLLATE "C" NOT NULL,
	CONSTRAINT guard_role_key UNIQUE NULLS NOT DISTINCT (type, environment, project),
	CONSTRAINT guard_role_type_check CHECK (type OPERATOR(pg_catalog.=) ANY (ARRAY['client', 'backend', 'frontend', 'admin'])),
	CONSTRAINT guard_role_role_check CHECK (pg_catalog.octet_length(role) BETWEEN 1 AND 63),
	CONSTRAINT guard_role_environment_fkey FOREIGN KEY (environment)
		REFERENCES unleash_tokens.environment (name) ON UPDATE CASCADE ON DELETE CASCADE,
	CONSTRAINT guard_role_project_fkey FOREIGN KEY (project)
		REFERENCES unleash_tokens.project (id) ON UPDATE CASCADE ON DELETE CASCADE
);

COMMENT ON TABLE unleash_tokens.guard_role IS 'Which database role guard() lets a token run as. The row that says most wins: type counts more than environment, that more than project. Without a row a token is refused.';
COMMENT ON COLUMN unleash_tokens.guard_role.type IS 'client, backend, frontend or admin; NULL = any.';
COMMENT ON COLUMN unleash_tokens.guard_role.environment IS 'The environment of the token; NULL = any, and the only one that fits type admin.';
COMMENT ON COLUMN unleash_tokens.guard_role.project IS 'The only project the token reaches; NULL = any.';
COMMENT ON COLUMN unleash_tokens.guard_role.role IS 'Name of a database role. Looked at anew each time: one that is gone, or binds no row security, is refused.';

CREATE FUNCTION unleash_tokens.guard() RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'unleash_tokens_guard';

CREATE FUNCTION unleash_tokens.guard(secret text) RETURNS jsonb
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'unleash_tokens_guard_secret';

CREATE FUNCTION unleash_tokens.set_guard_role(
	type text, role text, environment text DEFAULT NULL, project text DEFAULT NULL) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_set_guard_role';

CREATE FUNCTION unleash_tokens.drop_guard_role(
	type text, environment text DEFAULT NULL, project text DEFAULT NULL) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_drop_guard_role';

-- Sessions keep what they read of guard_role: each row that is written is told to all of them, also where a replica
-- writes it, hence ALWAYS.
CREATE FUNCTION unleash_tokens.tell_sessions() RETURNS trigger
LANGUAGE C VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'unleash_tokens_tell_sessions';

CREATE TRIGGER tell_sessions AFTER INSERT OR UPDATE OR DELETE ON unleash_tokens.guard_role
	FOR EACH ROW EXECUTE FUNCTION unleash_tokens.tell_sessions();
ALTER TABLE unleash_tokens.guard_role ENABLE ALWAYS TRIGGER tell_sessions;

COMMENT ON FUNCTION unleash_tokens.tell_sessions() IS 'For the trigger on guard_role: every session reads it anew once the change is committed.';
COMMENT ON TRIGGER tell_sessions ON unleash_tokens.guard_role IS 'See the function. While it is disabled, guard() reads the table in each request.';

-- A parallel worker knows no token, hence RESTRICTED; a plan is shared by the tokens of a
-- session, hence not IMMUTABLE.
CREATE FUNCTION unleash_tokens.token_selector() RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'unleash_tokens_token_selector';

CREATE FUNCTION unleash_tokens.token_name() RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'unleash_tokens_token_name';

CREATE FUNCTION unleash_tokens.token_type() RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'unleash_tokens_token_type';

CREATE FUNCTION unleash_tokens.token_environment() RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'unleash_tokens_token_environment';

CREATE FUNCTION unleash_tokens.token_projects() RETURNS text[]
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'unleash_tokens_token_projects';

CREATE FUNCTION unleash_tokens.token_reaches(project text) RETURNS boolean
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'unleash_tokens_token_reaches';

CREATE FUNCTION unleash_tokens.token_reaches(project text, environment text) RETURNS boolean
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'unleash_tokens_token_reaches';

CREATE FUNCTION unleash_tokens.token_identity() RETURNS jsonb
LANGUAGE C STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'unleash_tokens_token_identity';

COMMENT ON FUNCTION unleash_tokens.guard() IS 'For PostgREST''s db-pre-request: takes the token from the headers that the setting unleash_tokens.guard_headers names, blanks it there, and lets the rest of the transaction run as this token, in its role of guard_role. Refusals are raised as PostgREST''s own errors with status 400, 401, 403, 429 or 500.';
COMMENT ON FUNCTION unleash_tokens.guard(text) IS 'The same for any SQL client; returns who is calling, as token_identity(). Once a transaction: the same token again changes nothing. Errors: 25P01 outside a transaction block, 28000 for a token that is not valid, 53400 for one that is used too often, 42501 for one without a role, 25001 for another token than before.';
COMMENT ON FUNCTION unleash_tokens.set_guard_role(text, text, text, text) IS 'Lets tokens of a type run as a database role: all, or those of one environment, or those of one project. NULL or * stand for any. Error 22023 for an unknown type, and for a role that is or belongs to a superuser, a role with BYPASSRLS, REPLICATION or CREATEROLE, one of the server''s own, unleash_tokens_admin or the owner of the tables of tokens.';
COMMENT ON FUNCTION unleash_tokens.drop_guard_role(text, text, text) IS 'Takes such a row away again; false when there is none.';
COMMENT ON FUNCTION unleash_tokens.token_selector() IS 'The selector of the token that guard() validated in this transaction; NULL without one. No setting and no privilege changes what it returns.';
COMMENT ON FUNCTION unleash_tokens.token_name() IS 'The tokenName of the calling token; NULL without one.';
COMMENT ON FUNCTION unleash_tokens.token_type() IS 'client, backend, frontend or admin; NULL without a token.';
COMMENT ON FUNCTION unleash_tokens.token_environment() IS 'The environment of the calling token, * for type admin; NULL without a token.';
COMMENT ON FUNCTION unleash_tokens.token_projects() IS 'The projects that the calling token reaches; for a token of all projects, those in the table project. NULL without a token.';
COMMENT ON FUNCTION unleash_tokens.token_reaches(text) IS 'Does the calling token reach this project, and is there such a project? False without a token, and for NULL.';
COMMENT ON FUNCTION unleash_tokens.token_reaches(text, text) IS 'Does the calling token reach this project and this environment? False without a token, and for NULL.';
COMMENT ON FUNCTION unleash_tokens.token_identity() IS 'The calling token as {"selector", "tokenName", "type", "projects", "environment", "expiresAt"}, as it was when guard() validated it; NULL without one.';

-- The fast form of a policy: each reader in a SELECT of its own runs once a statement, not once a row, and the
-- list of projects goes into the index.
CREATE FUNCTION unleash_tokens.protect(
	target regclass, project_column name DEFAULT 'project', environment_column name DEFAULT NULL,
	dry_run boolean DEFAULT true) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
AS $protect$
DECLARE
	roles text;
	fault text;
	reach text;
	statement text;
BEGIN
	SELECT string_agg(quote_ident(r.rolname), ', ' ORDER BY r.rolname) INTO roles
	FROM pg_roles AS r WHERE r.rolname IN (SELECT g.role FROM unleash_tokens.guard_role AS g);
	IF roles IS NULL THEN
		RAISE EXCEPTION 'there is no guard role yet' USING ERRCODE = 'object_not_in_prerequisite_state',
			HINT = 'Set one with unleash_tokens.set_guard_role() first: policies are made for these roles.';
	END IF;
	IF (SELECT relkind NOT IN ('r', 'p') FROM pg_class WHERE oid = target) THEN
		RAISE EXCEPTION '% is not a table', target USING ERRCODE = 'wrong_object_type',
			HINT = 'Protect the tables below it, and give a view WITH (security_invoker).';
	END IF;
	SELECT string_agg(format('column %I %s', c.name, CASE
			WHEN a.attnum IS NULL THEN 'does not exist'
			WHEN coalesce(nullif(t.typbasetype, 0), t.oid) NOT IN ('text'::regtype, 'varchar'::regtype) THEN 'is of type ' || format_type(a.atttypid, a.atttypmod)
			ELSE 'has a collation that takes different texts for equal' END), ', ' ORDER BY c.ord) INTO fault
	FROM unnest(ARRAY[project_column, environment_column]) WITH ORDINALITY AS c (name, ord)
		LEFT JOIN pg_attribute AS a ON a.attrelid = target AND a.attname = c.name AND a.attnum > 0 AND NOT a.attisdropped
		LEFT JOIN pg_type AS t ON t.oid = a.atttypid
		LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
	WHERE c.name IS NOT NULL AND (a.attnum IS NULL OR NOT coalesce(l.collisdeterministic, true)
		OR coalesce(nullif(t.typbasetype, 0), t.oid) NOT IN ('text'::regtype, 'varchar'::regtype));
	IF fault IS NOT NULL OR project_column IS NULL THEN
		RAISE EXCEPTION 'a column of % cannot be compared with the names of tokens', target USING ERRCODE = 'datatype_mismatch',
			DETAIL = coalesce(fault, 'project_column is NULL') || '.', HINT = 'Name columns of type text or varchar.';
	END IF;

	reach := format('%I = ANY ((SELECT unleash_tokens.token_projects())::text[])', project_column);
	IF environment_column IS NOT NULL THEN
		-- a row that names none is of none, also for a token of all
		reach := reach || format(' AND %1$I IS NOT NULL AND ((SELECT unleash_tokens.token_environment()) = ''*'' OR %1$I = (SELECT unleash_tokens.token_environment()))', environment_column);
	END IF;
	FOREACH statement IN ARRAY ARRAY[
		format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target),
		format('DROP POLICY IF EXISTS unleash_tokens_reach ON %s', target),
		format('DROP POLICY IF EXISTS unleash_tokens_guard ON %s', target),
		format('CREATE POLICY unleash_tokens_reach ON %s TO %s USING (%s) WITH CHECK (%s)', target, roles, reach, reach),
		format('CREATE POLICY unleash_tokens_guard ON %s AS RESTRICTIVE TO %s USING ((SELECT unleash_tokens.token_selector()) IS NOT NULL)', target, roles),
		CASE WHEN NOT EXISTS (
			SELECT FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
			WHERE i.indrelid = target AND a.attname = project_column AND i.indisvalid AND i.indpred IS NULL)
		THEN format('CREATE INDEX ON %s (%I)', target, project_column) END]
	LOOP
		CONTINUE WHEN statement IS NULL;
		IF NOT dry_run THEN
			EXECUTE statement;
		END IF;
		RETURN NEXT statement || ';';
	END LOOP;
END
$protect$;

COMMENT ON FUNCTION unleash_tokens.protect(regclass, name, name, boolean) IS 'The statements that let tokens reach only the rows of their projects (and environment) in a table, for the roles of guard_role; runs them when dry_run is false. Run it again when roles were added. Errors: 55000 without a role, 42809 for no table, 42804 for a column that is no text.';

CREATE FUNCTION unleash_tokens.lacks_corrections(version integer) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT version < 150014 OR version BETWEEN 160000 AND 160009 OR version BETWEEN 170000 AND 170005
$$;

COMMENT ON FUNCTION unleash_tokens.lacks_corrections(integer) IS 'For guard_check(): has a PostgreSQL of this server_version_num faults of row security or of roles that later minor versions mended? Those were 15.14, 16.10 and 17.6.';

-- What does a guarded API leave open?  Rows as those of doctor().  "schemas" are those that PostgREST shows (db-schemas); NULL:
-- every schema that a guard role may enter.  It reads catalogs only, with the rights of its owner, and shows no secret.
CREATE FUNCTION unleash_tokens.guard_check(
	schemas text[] DEFAULT NULL,
	OUT check_name text, OUT status text, OUT detail text, OUT hint text) RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $check$
WITH RECURSIVE
-- ---- What the checks look at ----
mapped AS (
	SELECT DISTINCT role AS rolname FROM unleash_tokens.guard_role
),
guard AS (
	SELECT r.* FROM pg_roles AS r JOIN mapped AS m ON m.rolname = r.rolname
),
-- with every role they belong to
belongs AS (
	SELECT g.oid AS guard, g.oid AS role FROM guard AS g
	UNION
	SELECT b.guard, m.roleid FROM belongs AS b JOIN pg_auth_members AS m ON m.member = b.role
),
shown AS (
	SELECT n.oid, n.nspname FROM pg_namespace AS n
	WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'unleash_tokens') AND n.nspname !~ '^pg_(toast|temp)'
		AND CASE WHEN guard_check.schemas IS NULL THEN EXISTS (SELECT FROM guard AS g WHERE has_schema_privilege(g.oid, n.oid, 'USAGE'))
			ELSE n.nspname = ANY (guard_check.schemas) END
),
-- what tokens can read or write
reached AS (
	SELECT c.oid, c.relkind, c.relowner, c.relrowsecurity, c.relforcerowsecurity, coalesce(c.reloptions @> ARRAY['security_invoker=true']
			OR c.reloptions @> ARRAY['security_invoker=on'] OR c.reloptions @> ARRAY['security_invoker=1'], false) AS is_invoker
	FROM pg_class AS c JOIN shown AS s ON s.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p', 'f', 'm', 'v') AND EXISTS (SELECT FROM guard AS g WHERE has_schema_privilege(g.oid, c.relnamespace, 'USAGE')
		AND (has_any_column_privilege(g.oid, c.oid, 'SELECT, INSERT, UPDATE') OR has_table_privilege(g.oid, c.oid, 'DELETE, TRUNCATE')))
),
policy AS (
	SELECT p.oid, p.polname, p.polrelid, p.polpermissive, concat_ws(' ', pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) AS text
	FROM pg_policy AS p JOIN reached AS r ON r.oid = p.polrelid
	WHERE p.polroles && ARRAY(SELECT b.role FROM belongs AS b) OR p.polroles = '{0}'
),
-- a reader in a SELECT of its own is taken away, what is left is called for each row
call AS (
	SELECT polname, polrelid, regexp_replace(text, '\( SELECT unleash_tokens\.token_[a-z]+\(\) AS token_[a-z]+\)', '', 'g') ~ 'unleash_tokens\.token_[a-z]+\(' AS is_bare
	FROM policy
),
-- the columns that are compared with the projects of the token
project_column AS (
	SELECT DISTINCT p.polrelid, a.attnum, a.attname FROM policy AS p JOIN pg_attribute AS a ON a.attrelid = p.polrelid AND a.attnum > 0 AND NOT a.attisdropped
	WHERE strpos(regexp_replace(p.text, '\)?::text', '', 'g'), quote_ident(a.attname) || ' = ANY (( SELECT unleash_tokens.token_projects()') > 0
),
-- who logs in and becomes a guard role: PostgREST
login AS (
	SELECT r.oid, r.rolname FROM pg_roles AS r
	WHERE r.rolcanlogin AND NOT r.rolsuper AND EXISTS (SELECT FROM guard AS g WHERE g.oid <> r.oid AND pg_has_role(r.oid, g.oid, 'MEMBER'))
),
setting AS (
	SELECT DISTINCT ON (l.oid, split_part(c, '=', 1)) l.oid AS login, split_part(c, '=', 1) AS name, substr(c, strpos(c, '=') + 1) AS value
	FROM login AS l JOIN pg_db_role_setting AS s ON s.setrole IN (l.oid, 0)
		AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())), unnest(s.setconfig) AS c
	ORDER BY l.oid, split_part(c, '=', 1), s.setrole = 0, s.setdatabase = 0
),
-- ---- The checks ----
checked (check_name, severity, problems, fine, hint) AS (VALUES
	('guard_roles', 'error', ARRAY(
		SELECT format('there is no role %I', m.rolname) FROM mapped AS m WHERE NOT EXISTS (SELECT FROM guard AS g WHERE g.rolname = m.rolname)
		UNION ALL
		SELECT format('%I %s', g.rolname, CASE WHEN b.role = g.oid THEN '' ELSE format('belongs to %I, which ', r.rolname) END || CASE
			WHEN r.rolsuper THEN 'is a superuser' WHEN r.rolbypassrls THEN 'bypasses row security' WHEN r.rolreplication THEN 'may start replication'
			WHEN r.rolcreaterole THEN 'may create roles' WHEN r.rolname = 'unleash_tokens_admin' THEN 'manages the tokens' ELSE 'is a role of the server' END)
		FROM guard AS g JOIN belongs AS b ON b.guard = g.oid JOIN pg_roles AS r ON r.oid = b.role
		WHERE r.rolsuper OR r.rolbypassrls OR r.rolreplication OR r.rolcreaterole OR r.rolname ~ '^pg_' OR r.rolname = 'unleash_tokens_admin'
		UNION ALL
		SELECT 'guard_role has no row' WHERE NOT EXISTS (SELECT FROM mapped)
		ORDER BY 1 LIMIT 11),
	'Every role in guard_role is one that a token may run as.',
	'Tokens of these roles are refused: see the table guard_role, set_guard_role() and drop_guard_role().'),

	('row_security', 'error', ARRAY(
		SELECT format('%s %s', r.oid::regclass, CASE WHEN r.relkind IN ('f', 'm') THEN 'can have no row security' ELSE 'has no row security' END)
		FROM reached AS r WHERE r.relkind <> 'v' AND NOT r.relrowsecurity ORDER BY 1 LIMIT 11),
	'Every table that tokens reach has row security.',
	'Each token sees all of it: use unleash_tokens.protect(), or REVOKE what the roles of tokens have on it. A partition needs its own.'),

	('table_owners', 'error', ARRAY(
		SELECT DISTINCT format('%s is owned by %I', r.oid::regclass, o.rolname) FROM reached AS r JOIN belongs AS b ON b.role = r.relowner JOIN pg_roles AS o ON o.oid = r.relowner
		WHERE r.relkind IN ('r', 'p') AND NOT r.relforcerowsecurity ORDER BY 1 LIMIT 11),
	'No role of a token owns a table that it reaches.',
	'Row security does not bind the owner: use ALTER TABLE ... OWNER TO another role.'),

	('views', 'error', ARRAY(
		SELECT format('%s runs as %I', r.oid::regclass, o.rolname) FROM reached AS r JOIN pg_roles AS o ON o.oid = r.relowner
		WHERE r.relkind = 'v' AND NOT r.is_invoker AND EXISTS (
			SELECT FROM pg_rewrite AS w JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
			WHERE w.ev_class = r.oid AND d.refobjid <> r.oid) ORDER BY 1 LIMIT 11),
	'Every view that tokens reach runs as whoever reads it.',
	'It shows what its owner may see: use ALTER VIEW ... SET (security_invoker).'),

	('definer_functions', 'warning', ARRAY(
		SELECT p.oid::regprocedure || ' has the rights of its owner'
		FROM pg_proc AS p JOIN shown AS s ON s.oid = p.pronamespace
		WHERE p.prosecdef AND p.prorettype <> 'trigger'::regtype
			AND EXISTS (SELECT FROM guard AS g WHERE has_schema_privilege(g.oid, s.oid, 'USAGE') AND has_function_privilege(g.oid, p.oid, 'EXECUTE')) ORDER BY 1 LIMIT 11),
	'No function that tokens may call has the rights of its owner.',
	'Row security is that of its owner there: make it SECURITY INVOKER, or see that it asks unleash_tokens.token_reaches() itself.'),

	('open_policies', 'warning', ARRAY(
		SELECT format('policy %I on %s does not ask for the token', p.polname, p.polrelid::regclass) FROM policy AS p
		WHERE p.polpermissive AND p.text !~ 'unleash_tokens\.token_' AND NOT EXISTS (
			SELECT FROM policy AS x WHERE x.polrelid = p.polrelid AND NOT x.polpermissive AND x.text ~ 'unleash_tokens\.token_(projects|reaches)')
		ORDER BY 1 LIMIT 11),
	'Every policy for the roles of tokens asks for the token.',
	'Policies add up: this one lets every token reach what it names.'),

	('bare_calls', 'warning', ARRAY(
		SELECT format('policy %I on %s calls for every row', c.polname, c.polrelid::regclass) FROM call AS c WHERE c.is_bare ORDER BY 1 LIMIT 11),
	'Every policy calls what tells of the token once a statement.',
	'Write (SELECT unleash_tokens.token_projects()), in a SELECT of its own: see unleash_tokens.protect().'),

	('project_index', 'warning', ARRAY(
		SELECT format('%s has no index on %I', c.polrelid::regclass, c.attname) FROM project_column AS c
		WHERE NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.polrelid AND i.indkey[0] = c.attnum AND i.indisvalid AND i.indpred IS NULL)
		ORDER BY 1 LIMIT 11),
	'There is an index on every column that is compared with the projects of a token.',
	'The table is read whole for each token: use CREATE INDEX.'),

	('login_roles', 'warning', ARRAY(
		SELECT format('%I may become %I', l.rolname, r.rolname) FROM login AS l JOIN pg_roles AS r ON r.oid <> l.oid AND pg_has_role(l.oid, r.oid, 'MEMBER')
		WHERE r.rolname NOT IN (SELECT rolname FROM mapped)
			AND r.rolname NOT IN (SELECT s.value FROM setting AS s WHERE s.login = l.oid AND s.name = 'pgrst.db_anon_role')
			AND NOT EXISTS (SELECT FROM belongs AS b WHERE b.role = r.oid)
		ORDER BY 1 LIMIT 11),
	'PostgREST''s login may become the roles of tokens and its anonymous role, and no other.',
	'Whatever runs there may SET ROLE to it: REVOKE the membership. The anonymous role is known by ALTER ROLE ... SET pgrst.db_anon_role.'),

	('pre_request', 'error', ARRAY(
		SELECT format('%I does not call unleash_tokens.guard', l.rolname) FROM login AS l
		WHERE NOT EXISTS (SELECT FROM setting AS s WHERE s.login = l.oid AND s.name = 'pgrst.db_pre_request'
			AND s.value IN ('unleash_tokens.guard', '"unleash_tokens"."guard"'))
		ORDER BY 1 LIMIT 11),
	'PostgREST calls guard() in front of each request.',
	'Run ALTER ROLE ... SET pgrst.db_pre_request = ''unleash_tokens.guard''; leave it when the file of PostgREST has db-pre-request, which cannot be seen from here.'),

	('missing_token', 'warning', ARRAY(
		SELECT format('%I lets requests without a token be anonymous', l.rolname) FROM login AS l JOIN setting AS s ON s.login = l.oid
		WHERE s.name = 'unleash_tokens.guard_missing' AND s.value = 'anonymous'
		UNION ALL
		SELECT 'the server lets requests without a token be anonymous' WHERE (
			SELECT reset_val FROM pg_settings WHERE name = 'unleash_tokens.guard_missing') = 'anonymous'
		ORDER BY 1),
	'A request without a token is refused.',
	'That is as you want it when part of the API is public; else set unleash_tokens.guard_missing to refuse.'),

	('parameter_logging', 'warning', ARRAY(
		SELECT format('%I has no %s = 0', l.rolname, n) FROM login AS l, unnest(ARRAY['log_parameter_max_length', 'log_parameter_max_length_on_error']) AS n
		WHERE NOT EXISTS (SELECT FROM setting AS s WHERE s.login = l.oid AND s.name = n AND s.value ~ '^0+ *[A-Za-z]*$')
			AND NOT (n ~ 'on_error$' AND (SELECT reset_val FROM pg_settings WHERE name = n) = '0')
		ORDER BY 1),
	'The server''s log gets no parameter of PostgREST''s, and so no token.',
	'Run ALTER ROLE ... SET of both: PostgREST hands over the headers of a request as parameters.'),

	('server_version', 'warning', ARRAY(
		SELECT format('PostgreSQL %s', current_setting('server_version'))
		WHERE unleash_tokens.lacks_corrections(current_setting('server_version_num')::int)),
	'The server has the corrections of row security and roles that are known.',
	'Faults of row security were mended in 15.14, 16.10 and 17.6: install a later minor version.')
)
SELECT c.check_name, CASE WHEN c.problems = '{}' THEN 'ok' ELSE c.severity END,
	CASE WHEN c.problems = '{}' THEN c.fine
		ELSE array_to_string(c.problems[1:10], '; ') || CASE WHEN cardinality(c.problems) > 10 THEN '; and more.' ELSE '.' END END,
	CASE WHEN c.problems <> '{}' THEN c.hint END
FROM checked AS c
$check$;

COMMENT ON FUNCTION unleash_tokens.guard_check(text[]) IS 'Looks for what a guarded API leaves open in these schemas, or in every schema that roles of tokens may enter: one row for each check, its status ok, warning or error, what was found, and what to do about it. Changes nothing.';

-- a dump takes the new table along
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
	UNION ALL SELECT 5, 'guard_role', pg_catalog.to_jsonb(g) FROM unleash_tokens.guard_role AS g
	UNION ALL SELECT 6, 'expiry_notice', pg_catalog.to_jsonb(n) FROM unleash_tokens.expiry_notice AS n
	ORDER BY 1$$);

REVOKE ALL ON unleash_tokens.guard_role FROM PUBLIC;
REVOKE ALL ON FUNCTION
	unleash_tokens.set_guard_role(text, text, text, text), unleash_tokens.drop_guard_role(text, text, text),
	unleash_tokens.protect(regclass, name, name, boolean), unleash_tokens.guard_check(text[]),
	unleash_tokens.lacks_corrections(integer), unleash_tokens.tell_sessions() FROM PUBLIC;
REVOKE ALL ON FUNCTION
	unleash_tokens.guard(), unleash_tokens.guard(text), unleash_tokens.token_selector(), unleash_tokens.token_name(),
	unleash_tokens.token_type(), unleash_tokens.token_environment(), unleash_tokens.token_projects(),
	unleash_tokens.token_reaches(text), unleash_tokens.token_reaches(text, text), unleash_tokens.token_identity()
FROM PUBLIC;
-- These need no right: guard() asks for a secret, the others tell a caller who he is.
GRANT EXECUTE ON FUNCTION
	unleash_tokens.guard(), unleash_tokens.guard(text), unleash_tokens.token_selector(), unleash_tokens.token_name(),
	unleash_tokens.token_type(), unleash_tokens.token_environment(), unleash_tokens.token_projects(),
	unleash_tokens.token_reaches(text), unleash_tokens.token_reaches(text, text), unleash_tokens.token_identity()
TO PUBLIC;
-- Guard ends here.

-- Each check is a function of its own: how bad it is, the problems found (none: ok; NULL: cannot be seen), what to say
-- when there are none, and what to do about them.  They run with the rights of who asks, which is the owner when doctor()
-- does, read only, and show no secret, no verifier and no connection string.
CREATE TYPE unleash_tokens.finding AS (severity text, problems text[], fine text, hint text);

COMMENT ON TYPE unleash_tokens.finding IS 'What a check of doctor() found.';
COMMENT ON COLUMN unleash_tokens.finding.severity IS 'warning or error: what the problems are.';
COMMENT ON COLUMN unleash_tokens.finding.problems IS 'The first of the problems; empty: none; NULL: it cannot be seen.';
COMMENT ON COLUMN unleash_tokens.finding.fine IS 'What is said when there are none.';
COMMENT ON COLUMN unleash_tokens.finding.hint IS 'What to do about them.';

-- ---- What more than one check looks at ----

CREATE FUNCTION unleash_tokens.list_relations(OUT oid oid, OUT relkind "char", OUT relowner oid, OUT relacl aclitem[]) RETURNS SETOF record
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT c.oid, c.relkind, c.relowner, c.relacl FROM pg_class AS c
	WHERE c.relnamespace = 'unleash_tokens'::regnamespace AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
$$;

-- without an ACL the server's defaults count
CREATE FUNCTION unleash_tokens.list_rights(OUT object text, OUT grantee oid, OUT privilege_type text) RETURNS SETOF record
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'schema unleash_tokens' AS object, a.grantee, a.privilege_type
	FROM pg_namespace AS n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a
	WHERE n.nspname = 'unleash_tokens'
	UNION ALL
	SELECT p.oid::regprocedure::text, a.grantee, a.privilege_type
	FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
	WHERE p.pronamespace = 'unleash_tokens'::regnamespace
	UNION ALL
	SELECT r.oid::regclass::text, a.grantee, a.privilege_type
	FROM unleash_tokens.list_relations() AS r, aclexplode(coalesce(r.relacl, acldefault(CASE r.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", r.relowner))) AS a
	UNION ALL
	SELECT format('%s.%I', r.oid::regclass, c.attname), a.grantee, a.privilege_type
	FROM unleash_tokens.list_relations() AS r JOIN pg_attribute AS c ON c.attrelid = r.oid, aclexplode(c.attacl) AS a
	UNION ALL
	SELECT t.oid::regtype::text, a.grantee, a.privilege_type
	FROM pg_type AS t, aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) AS a
	WHERE t.typnamespace = 'unleash_tokens'::regnamespace AND t.typtype <> 'c' AND t.typelem = 0
$$;

CREATE FUNCTION unleash_tokens.list_carriers(OUT oid oid, OUT role name, OUT is_superuser boolean) RETURNS SETOF record
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT r.oid, r.rolname, r.rolsuper FROM pg_roles AS r
	WHERE r.rolcanlogin AND (r.rolsuper OR EXISTS (
		SELECT FROM pg_proc AS p, aclexplode(p.proacl) AS a
		WHERE p.pronamespace = 'unleash_tokens'::regnamespace
			AND p.proname IN ('rest_api', 'rest_read', 'authorize_many', 'create_api_token', 'create_api_tokens', 'validate_api_token', 'validate_api_tokens',
				'get_api_tokens_by_name', 'update_api_token', 'delete_api_token', 'import_api_tokens')
			AND a.grantee <> 0 AND pg_has_role(r.oid, a.grantee, 'MEMBER')))
$$;

-- what the server itself has, which cannot be seen when something nearer covers it in this session
CREATE FUNCTION unleash_tokens.list_server_settings(OUT name text, OUT value text) RETURNS SETOF record
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT s.name, CASE WHEN lower(s.name) NOT IN (
		SELECT lower(split_part(c, '=', 1)) FROM pg_db_role_setting AS o, unnest(o.setconfig) AS c
		WHERE o.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
			AND o.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))) THEN s.reset_val END
	FROM pg_settings AS s
$$;

-- the nearest of ALTER ROLE IN DATABASE, ALTER ROLE, ALTER DATABASE, ALTER ROLE ALL and the server's own
CREATE FUNCTION unleash_tokens.list_settings(OUT role name, OUT is_superuser boolean, OUT name text, OUT value text) RETURNS SETOF record
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	WITH server AS MATERIALIZED (SELECT s.name, s.value FROM unleash_tokens.list_server_settings() AS s)
	SELECT c.role, c.is_superuser, k.name, coalesce(
		(SELECT substr(o.entry, strpos(o.entry, '=') + 1)
		 FROM (SELECT s.setrole, s.setdatabase, unnest(s.setconfig) AS entry FROM pg_db_role_setting AS s) AS o
		 WHERE lower(split_part(o.entry, '=', 1)) = k.name AND o.setrole IN (0, c.oid)
			AND o.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
		 ORDER BY o.setrole = 0, o.setdatabase = 0 LIMIT 1),
		(SELECT s.value FROM server AS s WHERE s.name = k.name))
	FROM unleash_tokens.list_carriers() AS c, unnest(ARRAY['log_parameter_max_length', 'log_parameter_max_length_on_error', 'log_statement',
		'log_min_duration_statement', 'log_min_duration_sample', 'log_transaction_sample_rate', 'synchronous_commit',
		'auto_explain.log_min_duration', 'auto_explain.log_verbose', 'auto_explain.log_parameter_max_length',
		'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout']) AS k (name)
$$;

-- without those that come and go; types are hidden from some
CREATE FUNCTION unleash_tokens.count_workers(OUT running bigint, OUT some_hidden boolean, OUT has_launcher boolean)
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT count(*) AS running, coalesce(bool_or(backend_type IS NULL), false) AS some_hidden,
		coalesce(bool_or(backend_type = 'unleash_tokens launcher'), false) AS has_launcher
	FROM pg_stat_activity
	WHERE backend_type IS NULL OR backend_type NOT IN ('archiver', 'autovacuum launcher', 'autovacuum worker', 'background writer',
		'checkpointer', 'client backend', 'io worker', 'logger', 'parallel worker', 'slotsync worker', 'standalone backend',
		'startup', 'unleash_tokens flush worker', 'walreceiver', 'walsender', 'walsummarizer', 'walwriter')
$$;

-- Along the index from each project to the next: as many steps as there are projects, not as many as tokens.
CREATE FUNCTION unleash_tokens.list_lost_projects() RETURNS SETOF text
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	WITH RECURSIVE way (is_short) AS MATERIALIZED (
		SELECT EXISTS (SELECT FROM pg_index AS i WHERE i.indexrelid = to_regclass('unleash_tokens.api_token_project_project_idx') AND i.indisvalid)
			AND (SELECT count(*) FROM (SELECT FROM unleash_tokens.project LIMIT 10001) AS r) <= 10000),
	used (project) AS (
		(SELECT p.project FROM unleash_tokens.api_token_project AS p WHERE (SELECT is_short FROM way) ORDER BY p.project LIMIT 1)
		UNION ALL
		SELECT (SELECT p.project FROM unleash_tokens.api_token_project AS p WHERE p.project > u.project ORDER BY p.project LIMIT 1)
		FROM used AS u WHERE u.project IS NOT NULL)
	SELECT u.project FROM used AS u
	WHERE u.project IS NOT NULL AND NOT EXISTS (SELECT FROM unleash_tokens.project AS r WHERE r.id = u.project)
	UNION ALL
	SELECT DISTINCT p.project FROM unleash_tokens.api_token_project AS p
	WHERE NOT (SELECT is_short FROM way) AND NOT EXISTS (SELECT FROM unleash_tokens.project AS r WHERE r.id = p.project)
$$;

COMMENT ON FUNCTION unleash_tokens.list_relations() IS 'For doctor(): the tables, views and sequences of the schema.';
COMMENT ON FUNCTION unleash_tokens.list_rights() IS 'For doctor(): every right on anything in the schema; grantee 0 is PUBLIC.';
COMMENT ON FUNCTION unleash_tokens.list_carriers() IS 'For doctor(): who can log in and hand a secret to a function, directly or after SET ROLE.';
COMMENT ON FUNCTION unleash_tokens.list_server_settings() IS 'For doctor(): the settings of the server itself; NULL: cannot be seen from this session.';
COMMENT ON FUNCTION unleash_tokens.list_settings() IS 'For doctor(): what those roles have after login in this database, of the settings that matter.';
COMMENT ON FUNCTION unleash_tokens.count_workers() IS 'For doctor(): the background workers that stay.';
COMMENT ON FUNCTION unleash_tokens.list_lost_projects() IS 'For doctor(): projects of tokens that are not in the registry.';

-- ---- The extension itself ----

CREATE FUNCTION unleash_tokens.check_version() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', CASE WHEN a.default_version IS NOT NULL THEN ARRAY(
		SELECT format('version %s is installed here, the files are those of %s', e.extversion, a.default_version)
		WHERE e.extversion <> a.default_version
		UNION ALL
		SELECT format('the library that is loaded is version %s, the files are those of %s', l.version, a.default_version)
		WHERE l.version <> a.default_version) END,
	format('Version %s, as the files and the library that is loaded.', e.extversion),
	'Restart the server if its library is the older one, then run ALTER EXTENSION unleash_tokens UPDATE, then http/roles.sql.'
	FROM pg_extension AS e LEFT JOIN pg_available_extensions AS a ON a.name = e.extname, unleash_tokens.library_version() AS l (version)
	WHERE e.extname = 'unleash_tokens'
$$;

-- it signs for others; nothing of ours may hang on it
CREATE FUNCTION unleash_tokens.check_pgcrypto() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'error', ARRAY(
		SELECT format('the tables depend on %s', pg_describe_object(d.refclassid, d.refobjid, 0))
		FROM pg_depend AS d JOIN pg_extension AS e ON d.classid = 'pg_extension'::regclass AND d.objid = e.oid
		WHERE e.extname = 'unleash_tokens' AND d.refclassid = 'pg_extension'::regclass),
	coalesce((SELECT format('Version %s in the schema %s.', extversion, extnamespace::regnamespace) FROM pg_extension WHERE extname = 'pgcrypto'),
		'It is not installed; tokens do not need it.'),
	'Whoever drops that extension or its schema with CASCADE drops the tokens: run ALTER EXTENSION unleash_tokens UPDATE.'
$$;

CREATE FUNCTION unleash_tokens.check_owners() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'error', ARRAY(
		SELECT format('%s is owned by %I, no superuser', pg_describe_object(o.classid, o.objid, 0), r.rolname)
		FROM (SELECT 'pg_namespace'::regclass, oid, nspowner FROM pg_namespace WHERE nspname = 'unleash_tokens'
			UNION ALL SELECT 'pg_class', oid, relowner FROM unleash_tokens.list_relations()
			UNION ALL SELECT 'pg_proc', oid, proowner FROM pg_proc WHERE pronamespace = 'unleash_tokens'::regnamespace
			UNION ALL SELECT 'pg_type', oid, typowner FROM pg_type
			WHERE typnamespace = 'unleash_tokens'::regnamespace AND typtype <> 'c' AND typelem = 0) AS o (classid, objid, owner)
			JOIN pg_roles AS r ON r.oid = o.owner
		WHERE NOT r.rolsuper ORDER BY 1 LIMIT 11),
	'Everything in the schema is owned by a superuser.',
	'An owner can make any token and change the functions that others call: use ALTER ... OWNER TO a superuser.'
$$;

CREATE FUNCTION unleash_tokens.check_search_path() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'error', ARRAY(
		SELECT format('%s lost its search_path', p.oid::regprocedure) FROM pg_proc AS p
		WHERE p.pronamespace = 'unleash_tokens'::regnamespace AND p.prosecdef
			AND NOT coalesce(p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false) ORDER BY 1),
	'Every function with the rights of its owner looks into pg_catalog first.',
	'Run ALTER FUNCTION ... SET search_path = pg_catalog, pg_temp.'
$$;

CREATE FUNCTION unleash_tokens.check_foreign_objects() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', ARRAY(
		SELECT pg_describe_object(o.classid, o.objid, 0) || ' is none of ours'
		FROM (SELECT 'pg_class'::regclass, oid FROM unleash_tokens.list_relations()
			UNION ALL SELECT 'pg_proc', oid FROM pg_proc WHERE pronamespace = 'unleash_tokens'::regnamespace
			UNION ALL SELECT 'pg_operator', oid FROM pg_operator WHERE oprnamespace = 'unleash_tokens'::regnamespace
			UNION ALL SELECT 'pg_type', t.oid FROM pg_type AS t WHERE typnamespace = 'unleash_tokens'::regnamespace AND typelem = 0
				AND (typtype <> 'c' OR EXISTS (SELECT FROM pg_class WHERE oid = t.typrelid AND relkind = 'c'))) AS o (classid, objid)
		WHERE NOT EXISTS (
			SELECT FROM pg_depend AS d JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
			WHERE d.classid = o.classid AND d.objid = o.objid AND d.deptype = 'e' AND e.extname = 'unleash_tokens') ORDER BY 1 LIMIT 11),
	'The schema holds nothing but the extension.',
	'Drop them, and see who may CREATE in the schema unleash_tokens.'
$$;

CREATE FUNCTION unleash_tokens.check_foreign_triggers() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', ARRAY(
		SELECT format('trigger %I on %s', t.tgname, t.tgrelid::regclass)
		FROM pg_trigger AS t JOIN unleash_tokens.list_relations() AS r ON r.oid = t.tgrelid JOIN pg_proc AS p ON p.oid = t.tgfoid
		WHERE NOT t.tgisinternal AND p.pronamespace <> 'unleash_tokens'::regnamespace
		UNION ALL
		SELECT format('rule %I on %s', w.rulename, w.ev_class::regclass)
		FROM pg_rewrite AS w JOIN unleash_tokens.list_relations() AS r ON r.oid = w.ev_class WHERE w.rulename <> '_RETURN'
		UNION ALL
		SELECT format('row security policy %I on %s', y.polname, y.polrelid::regclass)
		FROM pg_policy AS y JOIN unleash_tokens.list_relations() AS r ON r.oid = y.polrelid
		UNION ALL
		SELECT format('row security on %s', r.oid::regclass)
		FROM unleash_tokens.list_relations() AS r JOIN pg_class AS c ON c.oid = r.oid WHERE c.relrowsecurity
		ORDER BY 1 LIMIT 11),
	'No trigger, rule or policy but those of the extension.',
	'They run inside every change of a token and can keep it from happening: drop them unless you made them on purpose.'
$$;

CREATE FUNCTION unleash_tokens.check_own_triggers() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'error', ARRAY(
		SELECT format('trigger %I on unleash_tokens.%I is missing or disabled', w.name, w.relname)
		FROM (VALUES ('mark_changed', 'project'), ('mark_changed', 'environment'), ('restore_row', 'backup_row'), ('tell_sessions', 'guard_role'),
			('delete_scopeless_tokens', 'api_token_project'), ('delete_scopeless_tokens_truncate', 'api_token_project')) AS w (name, relname)
		WHERE NOT EXISTS (
			SELECT FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_proc AS p ON p.oid = t.tgfoid
			WHERE c.relnamespace = 'unleash_tokens'::regnamespace AND p.pronamespace = 'unleash_tokens'::regnamespace
				AND c.relname = w.relname AND t.tgname = w.name AND t.tgenabled IN ('O', 'A'))
		UNION ALL
		SELECT format('a foreign key of %s is not enforced', t.tgrelid::regclass)
		FROM pg_trigger AS t JOIN unleash_tokens.list_relations() AS r ON r.oid = t.tgrelid WHERE t.tgisinternal AND t.tgenabled NOT IN ('O', 'A')
		GROUP BY t.tgrelid
		ORDER BY 1),
	'All triggers of the extension are enabled.',
	'Run ALTER TABLE ... ENABLE TRIGGER ALL; create the extension anew when one is missing.'
$$;

CREATE FUNCTION unleash_tokens.check_constraints() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'error', ARRAY(
		SELECT format('constraint %s is missing or not valid', w.name)
		FROM unnest(ARRAY['project_id_check', 'project_origin_check', 'environment_name_check', 'environment_type_check',
			'environment_origin_check', 'api_token_environment_fkey', 'api_token_selector_check', 'api_token_verifier_check',
			'api_token_type_check', 'api_token_environment_check', 'api_token_time_check',
			'api_token_rate_check', 'api_token_allowed_ips_check',
			'api_token_project_selector_fkey', 'api_token_project_project_fkey', 'api_token_event_type_check',
			'backup_row_check', 'guard_role_type_check', 'guard_role_role_check', 'guard_role_environment_fkey',
			'guard_role_project_fkey', 'expiry_notice_days_check']) AS w (name)
		WHERE NOT EXISTS (SELECT FROM pg_constraint AS k JOIN unleash_tokens.list_relations() AS r ON r.oid = k.conrelid
			WHERE k.conname = w.name AND k.contype IN ('c', 'f') AND k.convalidated)
		ORDER BY 1),
	'All checks and foreign keys are there and valid.',
	'Put the constraint back as it stands in the install script, or run ALTER TABLE ... VALIDATE CONSTRAINT.'
$$;

CREATE FUNCTION unleash_tokens.check_indexes() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'error', ARRAY(
		SELECT format('index %s is missing or not valid', w.name)
		FROM (VALUES ('project_pkey', true), ('environment_pkey', true), ('api_token_pkey', true), ('api_token_verifier_idx', true),
			('api_token_name_idx', false), ('api_token_rotation_idx', false), ('api_token_expires_at_idx', false), ('api_token_project_pkey', true), ('api_token_project_project_idx', false),
			('api_token_event_pkey', true), ('guard_role_key', true), ('expiry_notice_pkey', true)) AS w (name, is_unique)
		WHERE NOT EXISTS (SELECT FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN unleash_tokens.list_relations() AS r ON r.oid = i.indrelid
			WHERE c.relname = w.name AND i.indisunique = w.is_unique AND i.indisvalid AND i.indisready AND i.indislive)
		ORDER BY 1),
	'All indexes are there and valid.',
	'Validation reads the whole table without them. Run REINDEX, or create the index again as it stands in the install script.'
$$;

-- ---- Who may do what ----

CREATE FUNCTION unleash_tokens.check_public_privileges() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'error', ARRAY(
		SELECT format('%s on %s', h.privilege_type, h.object) FROM unleash_tokens.list_rights() AS h
		WHERE h.grantee = 0 AND h.object !~ '^unleash_tokens\.(guard|token_[a-z]+)\(' ORDER BY 1 LIMIT 11),
	'PUBLIC may do nothing in the schema but show a token and ask who is calling.',
	'Run REVOKE ... FROM PUBLIC.'
$$;

CREATE FUNCTION unleash_tokens.check_roles() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	WITH wanted_role (name, can_login) AS (VALUES
		('unleash_tokens_authenticator', true), ('unleash_tokens_rest', false), ('unleash_tokens_admin', false), ('unleash_tokens_standby', true),
		('unleash_tokens_auth', true),
		('unleash_tokens_monitor', false), ('unleash_tokens_validate', false))
	SELECT 'warning', ARRAY(
		SELECT format('there is no role %I', w.name) FROM wanted_role AS w WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = w.name)
		UNION ALL
		SELECT format('role %I has other attributes', w.name) FROM wanted_role AS w JOIN pg_roles AS r ON r.rolname = w.name
		WHERE r.rolcanlogin <> w.can_login OR r.rolinherit AND w.can_login
			OR r.rolsuper OR r.rolcreatedb OR r.rolcreaterole OR r.rolreplication OR r.rolbypassrls
		UNION ALL
		SELECT format('unleash_tokens_authenticator is no member of %I', r.rolname) FROM pg_roles AS r
		WHERE r.rolname IN ('unleash_tokens_rest', 'unleash_tokens_admin') AND NOT EXISTS (
			SELECT FROM pg_auth_members AS m JOIN pg_roles AS a ON a.oid = m.member WHERE m.roleid = r.oid AND a.rolname = 'unleash_tokens_authenticator')
		UNION ALL
		-- from PostgreSQL 16 on a membership says so itself
		SELECT format('unleash_tokens_authenticator inherits the rights of %s', m.roleid::regrole) FROM pg_auth_members AS m JOIN pg_roles AS a ON a.oid = m.member
		WHERE a.rolname = 'unleash_tokens_authenticator' AND (to_jsonb(m) ->> 'inherit_option')::boolean
		UNION ALL
		SELECT format('%I is a member of %I', r.rolname, m.roleid::regrole::text) FROM pg_roles AS r JOIN pg_auth_members AS m ON m.member = r.oid
		WHERE r.rolname IN ('unleash_tokens_rest', 'unleash_tokens_admin', 'unleash_tokens_standby', 'unleash_tokens_auth',
			'unleash_tokens_monitor', 'unleash_tokens_validate')
		ORDER BY 1),
	'The roles of http/roles.sql are as it makes them.',
	'Run http/roles.sql, unless PostgREST and standbys are of no use to you; revoke memberships by hand.'
$$;

CREATE FUNCTION unleash_tokens.check_grants() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	WITH wanted_right (role, privilege_type, object) AS (
		SELECT r, 'USAGE', 'schema unleash_tokens'
		FROM unnest(ARRAY['unleash_tokens_rest', 'unleash_tokens_admin', 'unleash_tokens_standby', 'unleash_tokens_auth',
			'unleash_tokens_monitor', 'unleash_tokens_validate']) AS r
		UNION ALL
		SELECT 'unleash_tokens_rest', 'EXECUTE', 'unleash_tokens.' || f
		FROM unnest(ARRAY['rest_api()', 'rest_api(bytea)', 'rest_read(bytea)']) AS f
		UNION ALL
		SELECT 'unleash_tokens_admin', 'EXECUTE', 'unleash_tokens.' || f
		FROM unnest(ARRAY['create_api_token(jsonb)', 'create_api_tokens(jsonb)', 'get_all_api_tokens()', 'get_api_tokens_by_name(text)',
			'update_api_token(text,jsonb)', 'delete_api_token(text)', 'validate_api_token(text)', 'validate_api_tokens(text[])',
			'import_api_tokens(jsonb)', 'purge_expired(interval)', 'purge_events(interval)', 'enforce_lifetime(boolean)', 'list_refusals()',
			'rotate_api_token(text,interval,interval)', 'finish_rotation(text)', 'cancel_rotation(text)',
			'create_project(text)', 'rename_project(text,text)', 'delete_project(text)', 'create_environment(text,text,boolean)', 'rename_environment(text,text)', 'delete_environment(text)',
			'get_seen_at(text,timestamp with time zone)', 'get_notice_days()', 'get_stat()', 'stat_reset()', 'metrics()', 'doctor()', 'guard_check(text[])']) AS f
		UNION ALL
		SELECT 'unleash_tokens_admin', 'SELECT', 'unleash_tokens.' || v
		FROM unnest(ARRAY['api_tokens', 'api_tokens_expiring', 'api_token_events', 'stat']) AS v
		UNION ALL
		SELECT 'unleash_tokens_standby', 'EXECUTE', 'unleash_tokens.note_usage(text[],timestamp with time zone[],bytea[])'
		UNION ALL
		SELECT 'unleash_tokens_auth', 'EXECUTE', 'unleash_tokens.authorize_many(bytea[],bytea[],bytea[],bytea[],bytea[],bytea[],bytea[])'
		UNION ALL
		SELECT 'unleash_tokens_monitor', 'EXECUTE', 'unleash_tokens.' || f FROM unnest(ARRAY['get_stat()', 'metrics()', 'doctor()']) AS f
		UNION ALL
		SELECT 'unleash_tokens_monitor', 'SELECT', 'unleash_tokens.stat'
		UNION ALL
		SELECT 'unleash_tokens_validate', 'EXECUTE', 'unleash_tokens.' || f FROM unnest(ARRAY['validate_api_token(text)', 'validate_api_tokens(text[])']) AS f
	),
	held_right AS (
		SELECT r.rolname AS role, h.privilege_type, h.object
		FROM unleash_tokens.list_rights() AS h JOIN pg_roles AS r ON r.oid = h.grantee
		WHERE r.rolname ~ '^unleash_tokens_(authenticator|rest|admin|standby|auth|monitor|validate)$')
	SELECT 'error', ARRAY(
		SELECT CASE WHEN h.role IS NULL THEN format('%I lacks %s on %s', w.role, w.privilege_type, w.object)
			ELSE format('%I has %s on %s', h.role, h.privilege_type, h.object) END
		FROM (SELECT * FROM wanted_right WHERE role IN (SELECT rolname FROM pg_roles)) AS w
			FULL JOIN held_right AS h ON h.role = w.role AND h.privilege_type = w.privilege_type AND h.object = w.object
		WHERE h.role IS NULL OR w.role IS NULL
		ORDER BY 1 LIMIT 11),
	'The rights of these roles are those of http/roles.sql.',
	'Run http/roles.sql in this database; it is due after each ALTER EXTENSION unleash_tokens UPDATE.'
$$;

CREATE FUNCTION unleash_tokens.check_timeouts() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', ARRAY(
		SELECT format('%s has no %s', e.role, e.name) FROM unleash_tokens.list_settings() AS e
		WHERE e.role IN ('unleash_tokens_authenticator', 'unleash_tokens_auth') AND e.name ~ 'timeout$' AND e.value ~ '^0+ *[A-Za-z]*$' IS NOT FALSE
		UNION ALL
		SELECT format('%s lost its statement_timeout', p.oid::regprocedure) FROM pg_proc AS p
		WHERE p.pronamespace = 'unleash_tokens'::regnamespace AND p.proname IN ('rest_api', 'rest_read')
			AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS c WHERE c ~ '^statement_timeout=[^0]')
		ORDER BY 1),
	'No request can hold a connection for long.',
	'Run http/roles.sql, or ALTER ROLE unleash_tokens_authenticator SET ... yourself.'
$$;

-- ---- What could be written where others read ----

CREATE FUNCTION unleash_tokens.check_parameter_logging() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	WITH effective AS MATERIALIZED (SELECT * FROM unleash_tokens.list_settings() WHERE value IS NOT NULL OR NOT is_superuser),
	logged_parameter AS (
		SELECT e.role, e.is_superuser, e.name, e.value, e.name ~ 'on_error$' OR EXISTS (
			SELECT FROM effective AS l WHERE l.role = e.role AND (
				l.name = 'log_statement' AND l.value IN ('mod', 'all')
				OR l.name IN ('log_min_duration_statement', 'log_min_duration_sample') AND l.value !~ '^-'
				OR l.name = 'log_transaction_sample_rate' AND l.value !~ '^[0.]+$')) AS is_written
		FROM effective AS e
		WHERE e.name IN ('log_parameter_max_length', 'log_parameter_max_length_on_error') AND e.value ~ '^0+ *[A-Za-z]*$' IS NOT TRUE
	)
	SELECT CASE WHEN EXISTS (SELECT FROM logged_parameter WHERE is_written AND NOT is_superuser) THEN 'error' ELSE 'warning' END, ARRAY(
		SELECT format('%I has %s = %s', l.role, l.name, coalesce(l.value, 'what cannot be seen from this session'))
		FROM logged_parameter AS l WHERE l.is_written OR NOT l.is_superuser ORDER BY 1 LIMIT 11),
	coalesce((SELECT 'No parameter is logged for ' || string_agg(quote_ident(role), ', ' ORDER BY role) || '.' FROM unleash_tokens.list_carriers() WHERE NOT is_superuser),
		'No role but superusers can pass a secret.'),
	'Secrets travel as parameters. Run ALTER ROLE ... SET log_parameter_max_length = 0 and ... SET log_parameter_max_length_on_error = 0.'
$$;

CREATE FUNCTION unleash_tokens.check_statement_logging() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', ARRAY(
		SELECT format('%s = %s', s.name, s.value) FROM unleash_tokens.list_server_settings() AS s
		WHERE s.name = 'log_statement' AND s.value = 'all'
			OR s.name IN ('log_min_duration_statement', 'log_min_duration_sample') AND s.value = '0' ORDER BY 1),
	'The server does not log every statement.',
	'A secret that is typed into a statement reaches the log: pass secrets as parameters only.'
$$;

CREATE FUNCTION unleash_tokens.check_auto_explain() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	WITH effective AS MATERIALIZED (SELECT * FROM unleash_tokens.list_settings() WHERE NOT is_superuser)
	SELECT 'error', ARRAY(
		SELECT format('%I has %s = %s', e.role, e.name, coalesce(e.value, 'what cannot be seen from this session'))
		FROM effective AS e JOIN effective AS d ON d.role = e.role
		WHERE d.name = 'auto_explain.log_min_duration' AND d.value !~ '^-' AND EXISTS (SELECT FROM unleash_tokens.list_server_settings() AS s WHERE s.name = e.name)
			AND (e.name = 'auto_explain.log_parameter_max_length' AND e.value ~ '^0+ *[A-Za-z]*$' IS NOT TRUE
				OR e.name = 'auto_explain.log_verbose' AND (lower(e.value) IN ('off', 'false', 'no', '0')) IS NOT TRUE)
		ORDER BY 1),
	CASE WHEN EXISTS (SELECT FROM unleash_tokens.list_server_settings() WHERE name = 'auto_explain.log_verbose')
		THEN 'It logs no parameter and no output list.' ELSE 'It is not loaded.' END,
	'Secrets travel as parameters, and a verbose plan shows them. Run http/roles.sql; set the same for the roles of other callers.'
$$;

-- ---- What a crash could undo ----

CREATE FUNCTION unleash_tokens.check_durability() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE current_setting('fsync') WHEN 'off' THEN 'error' ELSE 'warning' END, ARRAY(
		SELECT name || ' is off' FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'
		UNION ALL
		SELECT format('%I has synchronous_commit = off', e.role) FROM unleash_tokens.list_settings() AS e
		WHERE NOT e.is_superuser AND e.name = 'synchronous_commit' AND lower(e.value) IN ('off', 'false', 'no', '0') ORDER BY 1),
	'What was answered is on disk.',
	'After a crash a deleted token could be back: switch these on.'
$$;

-- ---- When tokens were used ----

CREATE FUNCTION unleash_tokens.check_preload() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', ARRAY(
		SELECT 'the library is not in shared_preload_libraries' FROM unleash_tokens.stat WHERE stats_reset IS NULL),
	'The library is preloaded.',
	'It is not recorded when tokens are used. Add unleash_tokens to shared_preload_libraries and restart the server.'
$$;

CREATE FUNCTION unleash_tokens.check_launcher() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', (
		SELECT CASE WHEN s.stats_reset IS NULL OR w.has_launcher THEN '{}'
			WHEN NOT w.some_hidden THEN ARRAY['the launcher does not run'] END
		FROM unleash_tokens.stat AS s, unleash_tokens.count_workers() AS w),
	CASE WHEN (SELECT stats_reset IS NOT NULL FROM unleash_tokens.stat) THEN 'The launcher runs.' ELSE 'None runs without the library preloaded.' END,
	'It is not written when tokens are used. Look into the server''s log; max_worker_processes may be too small.'
$$;

CREATE FUNCTION unleash_tokens.check_worker_slots() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', (
		SELECT CASE WHEN s.waits_since < clock_timestamp() - 3 * current_setting('unleash_tokens.flush_interval', true)::interval
				THEN ARRAY[format('since %s databases have waited for a free worker slot all the time', date_trunc('second', s.waits_since))]
			WHEN s.stats_reset IS NULL OR w.running < m.setting::int THEN '{}'
			WHEN NOT w.some_hidden THEN ARRAY[format('max_worker_processes is %s, and as many run', m.setting)] END
		FROM unleash_tokens.stat AS s, unleash_tokens.count_workers() AS w, pg_settings AS m WHERE m.name = 'max_worker_processes'),
	'There is room for a flush worker.',
	'When tokens were used is written late, or not at all. Raise max_worker_processes and restart the server.'
$$;

CREATE FUNCTION unleash_tokens.check_notes_dropped() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', ARRAY(
		SELECT format('%s notes of use were dropped since %s', notes_dropped, date_trunc('second', stats_reset)) FROM unleash_tokens.stat WHERE notes_dropped > 0),
	'No note of use was dropped.',
	'Raise unleash_tokens.usage_slots, or lower unleash_tokens.flush_interval; SELECT unleash_tokens.stat_reset() counts anew.'
$$;

CREATE FUNCTION unleash_tokens.check_last_error() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', ARRAY(
		SELECT format('%s: %s', date_trunc('second', last_error_at), last_error) FROM unleash_tokens.stat
		WHERE last_error_at > coalesce(last_flush, '-infinity')),
	'The last notes of use were written without an error.',
	'Notes are kept and tried again; see to what the error says.'
$$;

-- ---- The tokens ----

CREATE FUNCTION unleash_tokens.check_scopeless_tokens() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', ARRAY(
		(SELECT format('token %s has no project', t.selector) FROM unleash_tokens.api_token AS t
		 WHERE NOT t.all_projects AND NOT EXISTS (SELECT FROM unleash_tokens.api_token_project AS p WHERE p.selector = t.selector) LIMIT 11)
		UNION ALL
		(SELECT DISTINCT format('token %s has no project', t.selector)
		 FROM unleash_tokens.list_lost_projects() AS l (project) JOIN unleash_tokens.api_token_project AS p ON p.project = l.project COLLATE "C"
			JOIN unleash_tokens.api_token AS t ON t.selector = p.selector
		 WHERE NOT t.all_projects AND NOT EXISTS (
			SELECT FROM unleash_tokens.api_token_project AS o JOIN unleash_tokens.project AS r ON r.id = o.project
			WHERE o.selector = t.selector) LIMIT 11)
		LIMIT 11),
	'Every token reaches a project.',
	'Such tokens are refused. Triggers were circumvented; delete these tokens.'
$$;

-- Two indexes in the order of selectors are merged in less than half of the time that a hash of all tokens takes.
CREATE FUNCTION unleash_tokens.check_broken_references() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp SET enable_hashjoin = off AS $$
	SELECT 'error', ARRAY(
		(SELECT format('token %s is of an environment that is gone', t.selector) FROM unleash_tokens.api_token AS t
		 WHERE t.environment NOT IN (SELECT e.name FROM unleash_tokens.environment AS e) LIMIT 11)
		UNION ALL
		(SELECT format('token %s is of a project that is gone', p.selector)
		 FROM unleash_tokens.list_lost_projects() AS l (project) JOIN unleash_tokens.api_token_project AS p ON p.project = l.project COLLATE "C" LIMIT 11)
		UNION ALL
		(SELECT format('scope of token %s, which is gone', p.selector) FROM unleash_tokens.api_token_project AS p
		 WHERE NOT EXISTS (SELECT FROM unleash_tokens.api_token AS t WHERE t.selector = p.selector) LIMIT 11)),
	'Every reference holds.',
	'Foreign keys were circumvented: enter the project or environment again, or delete the rows.'
$$;

CREATE FUNCTION unleash_tokens.check_expired_tokens() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', ARRAY(
		SELECT format('%s of %s tokens expired more than 90 days ago', t.long_ago, a.total)
		FROM (SELECT count(*) AS long_ago FROM unleash_tokens.api_token WHERE expires_at <= (SELECT clock_timestamp() - interval '90 days')) AS t,
			LATERAL (SELECT count(*) AS total FROM unleash_tokens.api_token WHERE t.long_ago > 1000) AS a
		WHERE t.long_ago > 1000 AND t.long_ago > a.total / 10),
	format('%s tokens have expired.', (SELECT count(*) FROM unleash_tokens.api_token WHERE expires_at <= (SELECT clock_timestamp()))),
	'Run SELECT unleash_tokens.purge_expired(''90 days'').'
$$;

CREATE FUNCTION unleash_tokens.check_expiry_notices() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', ARRAY(
		SELECT format('nobody was told that tokens expire within %s days', w.days)
		FROM (SELECT d.days, make_interval(hours => 24 * lag(d.days, 1, 0) OVER (ORDER BY d.days)) AS after, make_interval(hours => 24 * d.days) AS before
			FROM unnest(unleash_tokens.get_notice_days()) AS d (days)) AS w LEFT JOIN unleash_tokens.expiry_notice AS n ON n.days = w.days
		WHERE (SELECT t.expires_at FROM unleash_tokens.api_token AS t
			WHERE t.expires_at >= (SELECT greatest(clock_timestamp() + w.after, n.up_to)) AND t.expires_at < (SELECT clock_timestamp() + w.before - interval '3 hours')
				AND (n.days IS NOT NULL OR t.created_at < (SELECT clock_timestamp() - interval '3 hours'))
			ORDER BY t.expires_at LIMIT 1) IS NOT NULL
			AND NOT pg_is_in_recovery() AND EXISTS (SELECT FROM pg_settings AS s WHERE s.name = 'unleash_tokens.usage_slots')
			AND NOT EXISTS (SELECT FROM pg_subscription_rel AS r WHERE r.srrelid = 'unleash_tokens.api_token_event'::regclass)
		ORDER BY w.days),
	'Whoever listens was told of the tokens that expire soon, or need not be.',
	'All databases are looked at once an hour, and when the configuration is reloaded; see last_error in the view stat, and the server''s log.'
$$;

CREATE FUNCTION unleash_tokens.check_rotations() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', ARRAY(
		SELECT format('the new secret of token %s was not used before %s and is refused', t.selector, date_trunc('second', t.activate_by))
		FROM unleash_tokens.api_token AS t
		WHERE t.next_verifier IS NOT NULL AND t.old_until IS NULL AND t.activate_by < clock_timestamp() - interval '1 hour'
			AND (t.expires_at IS NULL OR t.expires_at > clock_timestamp())
		ORDER BY t.selector LIMIT 11),
	'Every new secret of a token was used in time, or still can be.',
	'The old secrets go on. Rotate again, and see that the new secret is rolled out, or drop it: SELECT unleash_tokens.cancel_rotation(selector).'
$$;

CREATE FUNCTION unleash_tokens.check_token_limit() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', ARRAY(
		SELECT format('%s tokens, and at most %s are allowed', t.total, s.setting)
		FROM pg_settings AS s, LATERAL (SELECT count(*) AS total FROM unleash_tokens.api_token WHERE s.setting <> '0') AS t
		WHERE s.name = 'unleash_tokens.max_tokens' AND s.setting::bigint > 0 AND t.total >= s.setting::bigint * 9 / 10),
	'The limit is none, or far away.',
	'Raise unleash_tokens.max_tokens, or delete tokens; expired ones count too.'
$$;

CREATE FUNCTION unleash_tokens.check_rate_counted() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'error', ARRAY(
		SELECT f.problem FROM unleash_tokens.stat AS s, LATERAL (
			(SELECT format('token %s has a rateLimit, which cannot be counted', t.selector) FROM unleash_tokens.api_token AS t
			 WHERE t.rate_limit IS NOT NULL ORDER BY t.selector LIMIT 11)
			UNION ALL
			SELECT format('%s is set, which cannot be counted', p.name) FROM pg_settings AS p
			WHERE p.name ~ '^unleash_tokens\.rate_limit_' AND p.setting <> '') AS f (problem)
		WHERE s.stats_reset IS NULL),
	'Every limit there is can be counted.',
	'Such tokens are refused wherever a limit counts. Add unleash_tokens to shared_preload_libraries and restart the server.'
$$;

CREATE FUNCTION unleash_tokens.check_rate_slots() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', ARRAY(
		SELECT format('%s uses were refused since %s, there being no room to count them', refused_uncounted, date_trunc('second', stats_reset))
		FROM unleash_tokens.stat WHERE refused_uncounted > 0),
	'There was room to count every use of a token with a limit.',
	'Raise unleash_tokens.rate_slots and restart the server; SELECT unleash_tokens.stat_reset() counts anew.'
$$;

CREATE FUNCTION unleash_tokens.check_guard_address() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', ARRAY(
		SELECT format('token %s has allowedIps, and guard() knows no address', t.selector) FROM unleash_tokens.api_token AS t
		WHERE t.allowed_ips IS NOT NULL AND EXISTS (SELECT FROM unleash_tokens.guard_role)
			AND NOT EXISTS (SELECT FROM pg_settings AS p WHERE p.name = 'unleash_tokens.guard_address_header' AND p.setting <> '')
			AND NOT EXISTS (SELECT FROM pg_db_role_setting AS s, unnest(s.setconfig) AS c WHERE c ~ '^unleash_tokens\.guard_address_header=.')
		ORDER BY t.selector LIMIT 11),
	'guard() knows where requests come from, or no token asks for it.',
	'Such tokens are refused by guard(): set unleash_tokens.guard_address_header to a header that your proxy writes in any case.'
$$;

CREATE FUNCTION unleash_tokens.check_clock() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', ARRAY(
		SELECT format('%s tokens were made later than now', count(*)) FROM unleash_tokens.api_token
		WHERE created_at > (SELECT clock_timestamp() + interval '10 seconds') HAVING count(*) > 0
		UNION ALL
		SELECT 'the last event happened later than now'
		WHERE (SELECT e.at FROM unleash_tokens.api_token_event AS e ORDER BY e.id DESC LIMIT 1) > clock_timestamp() + interval '10 seconds'),
	'No token and no event is later than now.',
	'The clock of this server or of the one that made them is wrong: tokens expire by it.'
$$;

-- ---- Standbys ----

CREATE FUNCTION unleash_tokens.check_standby_primary() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', CASE WHEN NOT pg_is_in_recovery() THEN '{}' ELSE (
		SELECT CASE WHEN setting = '' THEN ARRAY['unleash_tokens.primary_conninfo is empty']
			WHEN setting ~* 'password *=|//[^/@]*:[^/@]*@' THEN ARRAY['unleash_tokens.primary_conninfo holds a password']
			ELSE '{}' END
		FROM pg_settings WHERE name = 'unleash_tokens.primary_conninfo') END,
	CASE WHEN pg_is_in_recovery() THEN 'The standby knows where to send its notes of use.' ELSE 'This is no standby.' END,
	'Say where the primary is, and keep the password in a passfile. Without it uses are shown on this server only.'
$$;

CREATE FUNCTION unleash_tokens.check_standby_receiver() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', ARRAY(
		SELECT 'nothing is received from a primary' WHERE pg_is_in_recovery() AND NOT EXISTS (SELECT FROM pg_stat_wal_receiver)),
	CASE WHEN pg_is_in_recovery() THEN 'The standby receives from its primary.' ELSE 'This is no standby.' END,
	'Deleted tokens stay valid here until it does: look into the server''s log and at primary_conninfo.'
$$;

CREATE FUNCTION unleash_tokens.check_standby_lag() RETURNS unleash_tokens.finding
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT 'warning', CASE WHEN NOT pg_is_in_recovery() THEN '{}' ELSE ARRAY(
		SELECT 'the replay is paused' WHERE pg_is_wal_replay_paused()
		UNION ALL
		SELECT format('the last transaction replayed is of %s, and later ones were received', date_trunc('second', pg_last_xact_replay_timestamp()))
		WHERE pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()
			AND pg_last_xact_replay_timestamp() < clock_timestamp() - interval '10 seconds') END,
	CASE WHEN pg_is_in_recovery() THEN 'What was received is replayed.' ELSE 'This is no standby.' END,
	'Deleted tokens stay valid here until it is replayed: see to queries that stand in the way, pg_wal_replay_resume() and recovery_min_apply_delay.'
$$;

COMMENT ON FUNCTION unleash_tokens.check_version() IS 'Check of doctor(), warning: files, SQL objects and the library that is loaded are not of one version.';
COMMENT ON FUNCTION unleash_tokens.check_pgcrypto() IS 'Check of doctor(), error: the tables depend on another extension, as those of 1.0 did on pgcrypto; when not: where pgcrypto lies.';
COMMENT ON FUNCTION unleash_tokens.check_owners() IS 'Check of doctor(), error: something in the schema is owned by a role that is no superuser.';
COMMENT ON FUNCTION unleash_tokens.check_search_path() IS 'Check of doctor(), error: a function with its owner''s rights lost its search_path.';
COMMENT ON FUNCTION unleash_tokens.check_foreign_objects() IS 'Check of doctor(), warning: the schema holds what is not the extension''s.';
COMMENT ON FUNCTION unleash_tokens.check_foreign_triggers() IS 'Check of doctor(), warning: our tables have triggers, rules or row security of others.';
COMMENT ON FUNCTION unleash_tokens.check_own_triggers() IS 'Check of doctor(), error: a trigger of ours, or of a foreign key, is missing or disabled.';
COMMENT ON FUNCTION unleash_tokens.check_constraints() IS 'Check of doctor(), error: a constraint is missing or not valid.';
COMMENT ON FUNCTION unleash_tokens.check_indexes() IS 'Check of doctor(), error: an index is missing or not valid.';
COMMENT ON FUNCTION unleash_tokens.check_public_privileges() IS 'Check of doctor(), error: PUBLIC may do anything in the schema.';
COMMENT ON FUNCTION unleash_tokens.check_roles() IS 'Check of doctor(), warning: the roles of http/roles.sql are missing, or have other attributes or memberships.';
COMMENT ON FUNCTION unleash_tokens.check_grants() IS 'Check of doctor(), error: these roles have other rights than http/roles.sql gives them.';
COMMENT ON FUNCTION unleash_tokens.check_timeouts() IS 'Check of doctor(), warning: requests through PostgREST have no limit of time.';
COMMENT ON FUNCTION unleash_tokens.check_parameter_logging() IS 'Check of doctor(), warning: a role that can pass a secret has not switched off the logging of parameters; error when they are being written; a superuser counts only when they are.';
COMMENT ON FUNCTION unleash_tokens.check_statement_logging() IS 'Check of doctor(), warning: every statement is logged.';
COMMENT ON FUNCTION unleash_tokens.check_auto_explain() IS 'Check of doctor(), error: plans are logged for such a role, with parameters or verbose.';
COMMENT ON FUNCTION unleash_tokens.check_durability() IS 'Check of doctor(), warning: full_page_writes or synchronous_commit is off; error when fsync is.';
COMMENT ON FUNCTION unleash_tokens.check_preload() IS 'Check of doctor(), warning: the library is not in shared_preload_libraries.';
COMMENT ON FUNCTION unleash_tokens.check_launcher() IS 'Check of doctor(), warning: the launcher of the flush workers does not run.';
COMMENT ON FUNCTION unleash_tokens.check_worker_slots() IS 'Check of doctor(), warning: max_worker_processes leaves no room for a flush worker, or databases have waited for one for three flush_intervals.';
COMMENT ON FUNCTION unleash_tokens.check_notes_dropped() IS 'Check of doctor(), warning: notes of use were dropped since stat_reset().';
COMMENT ON FUNCTION unleash_tokens.check_last_error() IS 'Check of doctor(), warning: notes of use cannot be written or sent.';
COMMENT ON FUNCTION unleash_tokens.check_scopeless_tokens() IS 'Check of doctor(), warning: a token has no project.';
COMMENT ON FUNCTION unleash_tokens.check_broken_references() IS 'Check of doctor(), error: a token is of a project or environment that is gone.';
COMMENT ON FUNCTION unleash_tokens.check_expired_tokens() IS 'Check of doctor(), warning: more than 1,000 tokens, and one in ten, expired more than 90 days ago.';
COMMENT ON FUNCTION unleash_tokens.check_expiry_notices() IS 'Check of doctor(), warning: for three hours nobody was told of a token that expires within a number of days of unleash_tokens.expiry_notice.';
COMMENT ON FUNCTION unleash_tokens.check_rotations() IS 'Check of doctor(), warning: the new secret of a token that was rotated was not used in time, for an hour.';
COMMENT ON FUNCTION unleash_tokens.check_token_limit() IS 'Check of doctor(), warning: nine tenths of max_tokens are used.';
COMMENT ON FUNCTION unleash_tokens.check_rate_counted() IS 'Check of doctor(), error: there are limits of use, and the library is not in shared_preload_libraries.';
COMMENT ON FUNCTION unleash_tokens.check_rate_slots() IS 'Check of doctor(), warning: tokens with a limit were refused since there was no room to count them, since stat_reset().';
COMMENT ON FUNCTION unleash_tokens.check_guard_address() IS 'Check of doctor(), warning: tokens have allowedIps, guard() is in use, and no setting names the header of the address.';
COMMENT ON FUNCTION unleash_tokens.check_clock() IS 'Check of doctor(), warning: a token or the last event is of later than in ten seconds.';
COMMENT ON FUNCTION unleash_tokens.check_standby_primary() IS 'Check of doctor(), warning: a standby has no primary_conninfo, or one with a password in it.';
COMMENT ON FUNCTION unleash_tokens.check_standby_receiver() IS 'Check of doctor(), warning: a standby receives nothing from its primary.';
COMMENT ON FUNCTION unleash_tokens.check_standby_lag() IS 'Check of doctor(), warning: the replay is paused, or more than ten seconds behind what was received.';

-- ---- The list of the checks ----

-- none of these statements runs long enough to be worth compiling
CREATE FUNCTION unleash_tokens.doctor(
	OUT check_name text, OUT status text, OUT detail text, OUT hint text) RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
	SELECT c.check_name,
		CASE WHEN (c.found).problems IS NULL THEN 'unknown' WHEN (c.found).problems = '{}' THEN 'ok' ELSE (c.found).severity END,
		CASE WHEN (c.found).problems IS NULL THEN 'The owner of this function may not see it.'
			WHEN (c.found).problems = '{}' THEN (c.found).fine
			ELSE array_to_string((c.found).problems[1:10], '; ') || CASE WHEN cardinality((c.found).problems) > 10 THEN '; and more.' ELSE '.' END END,
		CASE WHEN (c.found).problems IS NULL THEN 'Let a superuser own the extension.' WHEN (c.found).problems <> '{}' THEN (c.found).hint END
	FROM (VALUES
		('version', unleash_tokens.check_version()),
		('pgcrypto', unleash_tokens.check_pgcrypto()),
		('owners', unleash_tokens.check_owners()),
		('search_path', unleash_tokens.check_search_path()),
		('foreign_objects', unleash_tokens.check_foreign_objects()),
		('foreign_triggers', unleash_tokens.check_foreign_triggers()),
		('own_triggers', unleash_tokens.check_own_triggers()),
		('constraints', unleash_tokens.check_constraints()),
		('indexes', unleash_tokens.check_indexes()),
		('public_privileges', unleash_tokens.check_public_privileges()),
		('roles', unleash_tokens.check_roles()),
		('grants', unleash_tokens.check_grants()),
		('timeouts', unleash_tokens.check_timeouts()),
		('parameter_logging', unleash_tokens.check_parameter_logging()),
		('statement_logging', unleash_tokens.check_statement_logging()),
		('auto_explain', unleash_tokens.check_auto_explain()),
		('durability', unleash_tokens.check_durability()),
		('preload', unleash_tokens.check_preload()),
		('launcher', unleash_tokens.check_launcher()),
		('worker_slots', unleash_tokens.check_worker_slots()),
		('notes_dropped', unleash_tokens.check_notes_dropped()),
		('last_error', unleash_tokens.check_last_error()),
		('scopeless_tokens', unleash_tokens.check_scopeless_tokens()),
		('broken_references', unleash_tokens.check_broken_references()),
		('expired_tokens', unleash_tokens.check_expired_tokens()),
		('expiry_notices', unleash_tokens.check_expiry_notices()),
		('rotations', unleash_tokens.check_rotations()),
		('token_limit', unleash_tokens.check_token_limit()),
		('rate_counted', unleash_tokens.check_rate_counted()),
		('rate_slots', unleash_tokens.check_rate_slots()),
		('guard_address', unleash_tokens.check_guard_address()),
		('clock', unleash_tokens.check_clock()),
		('standby_primary', unleash_tokens.check_standby_primary()),
		('standby_receiver', unleash_tokens.check_standby_receiver()),
		('standby_lag', unleash_tokens.check_standby_lag())
	) AS c (check_name, found)
$$;

COMMENT ON FUNCTION unleash_tokens.doctor() IS 'Looks for what could be wrong with server, roles and tables: one row for each check, its status ok, warning, error or unknown, what was found, and what to do about it. Changes nothing.';

REVOKE ALL ON FUNCTION
	unleash_tokens.library_version(),
	unleash_tokens.list_relations(),
	unleash_tokens.list_rights(),
	unleash_tokens.list_carriers(),
	unleash_tokens.list_server_settings(),
	unleash_tokens.list_settings(),
	unleash_tokens.count_workers(),
	unleash_tokens.list_lost_projects(),
	unleash_tokens.check_version(),
	unleash_tokens.check_pgcrypto(),
	unleash_tokens.check_owners(),
	unleash_tokens.check_search_path(),
	unleash_tokens.check_foreign_objects(),
	unleash_tokens.check_foreign_triggers(),
	unleash_tokens.check_own_triggers(),
	unleash_tokens.check_constraints(),
	unleash_tokens.check_indexes(),
	unleash_tokens.check_public_privileges(),
	unleash_tokens.check_roles(),
	unleash_tokens.check_grants(),
	unleash_tokens.check_timeouts(),
	unleash_tokens.check_parameter_logging(),
	unleash_tokens.check_statement_logging(),
	unleash_tokens.check_auto_explain(),
	unleash_tokens.check_durability(),
	unleash_tokens.check_preload(),
	unleash_tokens.check_launcher(),
	unleash_tokens.check_worker_slots(),
	unleash_tokens.check_notes_dropped(),
	unleash_tokens.check_last_error(),
	unleash_tokens.check_scopeless_tokens(),
	unleash_tokens.check_broken_references(),
	unleash_tokens.check_expired_tokens(),
	unleash_tokens.check_expiry_notices(),
	unleash_tokens.check_rotations(),
	unleash_tokens.check_token_limit(),
	unleash_tokens.check_rate_counted(),
	unleash_tokens.check_rate_slots(),
	unleash_tokens.check_guard_address(),
	unleash_tokens.check_clock(),
	unleash_tokens.check_standby_primary(),
	unleash_tokens.check_standby_receiver(),
	unleash_tokens.check_standby_lag(),
	unleash_tokens.doctor()
FROM PUBLIC;
REVOKE ALL ON TYPE unleash_tokens.finding FROM PUBLIC;

-- let a running PostgREST see the functions; no one listens otherwise
NOTIFY pgrst, 'reload schema';
