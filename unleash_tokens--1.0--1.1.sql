/* unleash_tokens--1.0--1.1.sql */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION unleash_tokens UPDATE TO '1.1'" to load this file. \quit

-- room on each page for the rows that one batch of seen_at writes anew, so that indexes are left alone (HOT): a batch
-- takes few rows of each page where tokens are many, and pruning makes room again before the next
ALTER TABLE unleash_tokens.api_token SET (fillfactor = 70);

-- A name can be too long for a B-tree and be that of many tokens, each of which takes longer to put into a hash index
-- than the one before.  The digest of the name has neither trouble.
DROP INDEX unleash_tokens.api_token_name_idx;
CREATE INDEX api_token_name_idx ON unleash_tokens.api_token (pg_catalog.hashtextextended(token_name, 0));
COMMENT ON INDEX unleash_tokens.api_token_name_idx IS 'Finds tokens by the digest of their name.';

-- reads the tables without a statement, so it needs neither the owner's privileges nor a search_path
ALTER FUNCTION unleash_tokens.validate_api_token(text) SECURITY INVOKER;
ALTER FUNCTION unleash_tokens.validate_api_token(text) RESET ALL;

CREATE FUNCTION unleash_tokens.get_seen_at(selector text, stored timestamptz) RETURNS timestamptz
LANGUAGE C VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'unleash_tokens_get_seen_at';

CREATE FUNCTION unleash_tokens.note_usage(selectors text[], times timestamptz[]) RETURNS bigint
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'unleash_tokens_note_usage';

CREATE FUNCTION unleash_tokens.get_stat(
	OUT validations bigint, OUT refused_malformed bigint, OUT refused_unknown bigint,
	OUT refused_expired bigint, OUT refused_scopeless bigint,
	OUT notes_held bigint, OUT notes_dropped bigint, OUT flushes bigint,
	OUT last_flush timestamptz, OUT last_error text, OUT last_error_at timestamptz,
	OUT stats_reset timestamptz) RETURNS record
LANGUAGE C VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'unleash_tokens_get_stat';

CREATE FUNCTION unleash_tokens.stat_reset() RETURNS void
LANGUAGE C VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'unleash_tokens_stat_reset';

COMMENT ON FUNCTION unleash_tokens.get_seen_at(text, timestamptz) IS 'The newer of a stored time and the noted use of a token; for the view api_tokens.';
COMMENT ON FUNCTION unleash_tokens.note_usage(text[], timestamptz[]) IS 'For standbys: notes that the tokens of these selectors were used at these times, none later than now; returns how many. Error 22023 for arrays of different lengths.';
COMMENT ON FUNCTION unleash_tokens.get_stat() IS 'The row of the view stat.';
COMMENT ON FUNCTION unleash_tokens.stat_reset() IS 'Sets the counters of the view stat to zero; notes are kept.';

CREATE OR REPLACE VIEW unleash_tokens.api_tokens WITH (security_barrier) AS
	SELECT t.selector, t.token_name, t.type, t.environment,
		   CASE WHEN t.all_projects THEN ARRAY['*']
				ELSE ARRAY(SELECT p.project::text FROM unleash_tokens.api_token_project AS p
						   WHERE p.selector OPERATOR(pg_catalog.=) t.selector ORDER BY p.ord)
		   END AS projects,
		   t.all_projects, t.by_verifier, t.created_at, t.expires_at,
		   unleash_tokens.get_seen_at(t.selector, t.seen_at) AS seen_at, t.alias, t.created_by
	FROM unleash_tokens.api_token AS t;

CREATE VIEW unleash_tokens.stat AS SELECT * FROM unleash_tokens.get_stat();

COMMENT ON VIEW unleash_tokens.stat IS 'Validations and notes of use of the whole server since stats_reset; NULL without the library in shared_preload_libraries.';
COMMENT ON COLUMN unleash_tokens.stat.validations IS 'Secrets found valid.';
COMMENT ON COLUMN unleash_tokens.stat.refused_malformed IS 'Refused by their text alone.';
COMMENT ON COLUMN unleash_tokens.stat.refused_unknown IS 'No such token, or another key.';
COMMENT ON COLUMN unleash_tokens.stat.refused_expired IS 'Token expired.';
COMMENT ON COLUMN unleash_tokens.stat.refused_scopeless IS 'Token without a project left.';
COMMENT ON COLUMN unleash_tokens.stat.notes_held IS 'Notes that wait to be written.';
COMMENT ON COLUMN unleash_tokens.stat.notes_dropped IS 'Notes lost: the oldest of a full bucket, or those of a database or extension that is gone.';
COMMENT ON COLUMN unleash_tokens.stat.flushes IS 'Batches written, or sent to the primary.';
COMMENT ON COLUMN unleash_tokens.stat.last_flush IS 'When the last batch was written or sent.';
COMMENT ON COLUMN unleash_tokens.stat.last_error IS 'What last kept a worker from its work.';
COMMENT ON COLUMN unleash_tokens.stat.last_error_at IS 'When that was.';
COMMENT ON COLUMN unleash_tokens.stat.stats_reset IS 'Since when is counted.';

REVOKE ALL ON FUNCTION
	unleash_tokens.get_seen_at(text, timestamptz),
	unleash_tokens.note_usage(text[], timestamptz[]),
	unleash_tokens.get_stat(),
	unleash_tokens.stat_reset()
FROM PUBLIC;
REVOKE ALL ON unleash_tokens.stat FROM PUBLIC;

NOTIFY pgrst, 'reload schema';
