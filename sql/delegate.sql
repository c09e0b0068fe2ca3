--
-- An admin token that is bound to projects: what belongs to others is for it as
-- if it did not exist.  Answers are compared by t/http/delegate.mjs; here it is
-- what is read on the way to them, which is the same however far a token of
-- others reaches, and whether there is one.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
RESET client_min_messages;
\set VERBOSITY default
\set SHOW_CONTEXT never

BEGIN;
INSERT INTO unleash_tokens.project (id) SELECT 'p' || i FROM generate_series(1, 100) AS i;
INSERT INTO unleash_tokens.project (id) VALUES ('mine'), ('mine too');
CREATE FUNCTION pg_temp.make(type text, projects jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT unleash_tokens.create_api_token(jsonb_build_object('type', type, 'tokenName', 'delegated', 'projects', projects)) ->> 'secret'
$$;
CREATE TEMP TABLE kept AS
SELECT what, secret, substring(secret FROM '\.v2_(.{22})_') AS selector
FROM (SELECT what, pg_temp.make(type, projects) AS secret FROM (VALUES
	('key', 'admin', '["mine", "mine too"]'::jsonb),
	('of all projects', 'client', '["*"]'), ('of another project', 'client', '["p1"]'), ('an admin of another project', 'admin', '["p2"]'),
	('of 100 other projects', 'client', (SELECT jsonb_agg('p' || i) FROM generate_series(1, 100) AS i)),
	('of ours and another', 'client', '["mine", "p1"]'),
	('of ours and 100 others', 'client', (SELECT '["mine"]' || jsonb_agg('p' || i) FROM generate_series(1, 100) AS i)),
	('of ours', 'client', '["mine"]')) AS v (what, type, projects)) AS made;
INSERT INTO kept VALUES ('none', 'development:none.v2_' || repeat('0', 22) || '_' || repeat('0', 43), repeat('0', 22));
-- Others have many: a plan for a table of a few rows may read it whole.
SELECT jsonb_array_length(unleash_tokens.create_api_tokens((SELECT jsonb_agg(jsonb_build_object('type', 'client', 'tokenName', 'of others', 'project', 'p' || i % 100 + 1))
	FROM generate_series(1, 5000) AS i))) AS made;
ANALYZE unleash_tokens.api_token, unleash_tokens.api_token_project;

-- How many rows and indexes were looked at in this transaction.
CREATE FUNCTION pg_temp.reads() RETURNS bigint LANGUAGE sql AS $$
	SELECT sum(seq_scan + seq_tup_read + coalesce(idx_scan, 0) + coalesce(idx_tup_fetch, 0))::bigint
	FROM pg_stat_xact_all_tables WHERE schemaname = 'unleash_tokens'
$$;
CREATE FUNCTION pg_temp.ask(method text, target text, sent text, OUT answer text, OUT reads bigint) LANGUAGE plpgsql AS $$
DECLARE
	bytes bytea;
BEGIN
	PERFORM set_config('request.headers', jsonb_build_object('x-original-method', method, 'x-original-uri', target, 'x-original-content-type', 'application/json',
		'authorization', (SELECT secret FROM kept WHERE what = 'key'))::text, true);
	reads := pg_temp.reads();
	bytes := CASE WHEN method = 'GET' THEN unleash_tokens.rest_api() ELSE unleash_tokens.rest_api(convert_to(coalesce(sent, ''), 'UTF8')) END;
	reads := pg_temp.reads() - reads;
	answer := current_setting('response.status') || ' ' || regexp_replace(convert_from(bytes, 'UTF8'), '"id":"[^"]*"', '"id":""');
END
$$;

-- once for the plans, then as it is
SELECT count(pg_temp.ask(method, '/api/admin/api-tokens/' || selector || after, '{"expiresAt": null}'))
FROM kept, (VALUES ('PUT', ''), ('DELETE', ''), ('POST', '/rotate/cancel')) AS r (method, after) WHERE what = 'none';
CREATE TEMP TABLE asked AS
SELECT what, concat(method, ' ', name) AS request, kind, (pg_temp.ask(method, path || CASE kind WHEN 'selector' THEN selector ELSE secret END || after, '{"expiresAt": null}')).*
FROM kept, (VALUES ('PUT', '', '/api/admin/api-tokens/', ''), ('DELETE', '', '/api/admin/api-tokens/', ''), ('POST', 'cancel', '/api/admin/api-tokens/', '/rotate/cancel'),
	('DELETE', 'of project', '/api/admin/projects/mine/api-tokens/', '')) AS r (method, name, path, after), (VALUES ('selector'), ('secret')) AS k (kind)
WHERE what NOT IN ('key', 'of ours');
-- one row of its projects is read, and no more: that alone tells it from one that is not there
SELECT a.what, bool_and(a.answer = n.answer) AS same_answer, CASE WHEN a.what LIKE 'of ours%' THEN bool_and(a.reads - n.reads <= 2) ELSE bool_and(a.reads - n.reads BETWEEN 0 AND 1) END AS same_reads
FROM asked AS a JOIN asked AS n ON n.what = 'none' AND (n.request, n.kind) = (a.request, a.kind) WHERE a.what <> 'none' GROUP BY a.what ORDER BY a.what COLLATE "C";
SELECT count(*) AS kept, count(*) FILTER (WHERE expires_at IS NOT NULL) AS changed FROM unleash_tokens.api_token WHERE token_name = 'delegated';
-- reads are counted
SELECT (pg_temp.ask('DELETE', '/api/admin/api-tokens/' || k.selector, NULL)).reads > max(a.reads) AS more
FROM kept AS k, asked AS a WHERE k.what = 'of ours' AND a.request = 'DELETE ' GROUP BY k.selector;

-- Lists: however many tokens others have, and however far one reaches that has a project of ours too.
SELECT reads AS before FROM pg_temp.ask('GET', '/api/admin/api-tokens', NULL) \gset
SELECT reads AS before FROM pg_temp.ask('GET', '/api/admin/api-tokens', NULL) \gset
SELECT reads AS name_before FROM pg_temp.ask('GET', '/api/admin/api-tokens/delegated', NULL) \gset
SELECT reads AS project_before FROM pg_temp.ask('GET', '/api/admin/projects/mine/api-tokens', NULL) \gset
SELECT count(pg_temp.make('client', jsonb_build_array('p' || i % 100 + 1))) FROM generate_series(1, 50) AS i;
SELECT reads - :before AS list, (SELECT reads - :name_before FROM pg_temp.ask('GET', '/api/admin/api-tokens/delegated', NULL)) AS by_name,
	(SELECT reads - :project_before FROM pg_temp.ask('GET', '/api/admin/projects/mine/api-tokens', NULL)) AS of_project
FROM pg_temp.ask('GET', '/api/admin/api-tokens', NULL);
SELECT pg_temp.make('client', (SELECT '["mine"]' || jsonb_agg('p' || i) FROM generate_series(1, 100) AS i)) IS NOT NULL AS made;
SELECT reads - :before < 10 AS list, (SELECT reads - :name_before < 10 FROM pg_temp.ask('GET', '/api/admin/api-tokens/delegated', NULL)) AS by_name,
	(SELECT reads - :project_before < 10 FROM pg_temp.ask('GET', '/api/admin/projects/mine/api-tokens', NULL)) AS of_project
FROM pg_temp.ask('GET', '/api/admin/api-tokens', NULL);

-- Who is guarded by it reaches its projects; an import keeps them.
CREATE ROLE regress_unleash_delegate;
GRANT USAGE ON SCHEMA unleash_tokens TO regress_unleash_delegate;
SELECT unleash_tokens.set_guard_role('admin', 'regress_unleash_delegate');
SELECT secret AS key FROM kept WHERE what = 'key' \gset
SELECT unleash_tokens.guard(:'key') -> 'projects' AS projects;
SELECT unleash_tokens.token_projects(), unleash_tokens.token_reaches('mine', 'production') AS mine, unleash_tokens.token_reaches('p1', 'production') AS other;
RESET ROLE;
SELECT unleash_tokens.import_api_tokens('[{"secret": "mine:*.0123456789abcdef0123456789abcdef0123456789abcdef", "tokenName": "imported", "type": "admin", "environment": "*", "projects": ["mine"]}]') -> 'imported' AS imported;
SELECT projects, all_projects FROM unleash_tokens.api_tokens WHERE token_name = 'imported';
ROLLBACK;
