-- Plans are kept for the session, those of foreign keys too: one made for a small table must be good for a large one.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
DELETE FROM unleash_tokens.api_token;
DELETE FROM unleash_tokens.project WHERE id <> 'default';
VACUUM ANALYZE unleash_tokens.api_token, unleash_tokens.api_token_project, unleash_tokens.project, unleash_tokens.environment;
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "first", "project": "default"}') ->> 'tokenName' AS first;
SELECT unleash_tokens.update_api_token(selector, '{"expiresAt": null}') ->> 'tokenName' AS updated, unleash_tokens.delete_api_token(selector) AS deleted
FROM unleash_tokens.api_token;
SELECT pg_stat_force_next_flush();
BEGIN;
SELECT count(unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'project', 'default', 'tokenName', 'token ' || i)))
FROM generate_series(1, 100) AS i;
SELECT relname FROM pg_stat_xact_user_tables WHERE schemaname = 'unleash_tokens' AND seq_scan > 0 ORDER BY relname;
SELECT unleash_tokens.get_api_tokens_by_name('token 7') #>> '{tokens,0,tokenName}' AS by_name;
SET LOCAL enable_indexonlyscan = off;	-- whatever a VACUUM has seen meanwhile
CREATE TEMP TABLE selectors AS SELECT selector FROM unleash_tokens.api_token;
SET LOCAL enable_indexonlyscan = on;
SELECT count(unleash_tokens.update_api_token(selector, '{"expiresAt": "2099-01-01T00:00:00Z"}')),
	count(unleash_tokens.delete_api_token(selector)) FROM selectors;
-- but for the statement before, which read the tokens once
SELECT relname, seq_scan FROM pg_stat_xact_user_tables WHERE schemaname = 'unleash_tokens' AND seq_scan > 0 ORDER BY relname;
ROLLBACK;

-- An index that is not valid, as CREATE INDEX CONCURRENTLY leaves one that was cut off, counts as none, though it lacks rows: every door answers the same.
BEGIN;
CREATE TEMP TABLE legacy AS SELECT '*:*.4e1c1d9c0f3b5a77' AS secret;
CREATE FUNCTION pg_temp.import() RETURNS text LANGUAGE sql AS $$
	SELECT (unleash_tokens.import_api_tokens(jsonb_build_array(jsonb_build_object('secret', secret, 'type', 'admin', 'tokenName', 'legacy',
		'environment', '*', 'projects', '["*"]'::jsonb))) - 'weak')::text FROM legacy $$;
DO $$
DECLARE name regclass;
BEGIN
	FOREACH name IN ARRAY ARRAY['unleash_tokens.api_token_verifier_idx', 'unleash_tokens.api_token_name_idx', 'unleash_tokens.api_token_project_project_idx']::regclass[] LOOP
		UPDATE pg_index SET indisvalid = false, indisready = false WHERE indexrelid = name;
	END LOOP;
END $$;
SELECT pg_temp.import();
SELECT pg_temp.import();
SELECT pg_temp.import();
SELECT unleash_tokens.validate_api_token(secret) ->> 'tokenName' AS validated, (SELECT token_name FROM unleash_tokens.validate_api_tokens(ARRAY[secret])) AS of_many,
	jsonb_array_length(unleash_tokens.get_api_tokens_by_name('legacy') -> 'tokens') AS by_name, unleash_tokens.update_api_token(secret, '{"expiresAt": null}') ->> 'tokenName' AS updated
FROM legacy;
INSERT INTO unleash_tokens.project (id) VALUES ('p');
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "made", "project": "p"}') ->> 'tokenName' AS made;
DELETE FROM unleash_tokens.project WHERE id = 'p';
SELECT jsonb_array_length(unleash_tokens.get_api_tokens_by_name('made') -> 'tokens') AS left_over, unleash_tokens.delete_api_token(secret) AS deleted, unleash_tokens.validate_api_token(secret) AS validated FROM legacy;
SELECT detail FROM unleash_tokens.doctor() WHERE check_name = 'indexes';
-- guard() too: the row that says most, and the projects there are
CREATE ROLE regress_most;
CREATE ROLE regress_least;
SELECT unleash_tokens.set_guard_role('*', 'regress_least'), unleash_tokens.set_guard_role('client', 'regress_least', 'production');
UPDATE pg_index SET indisvalid = false, indisready = false WHERE indexrelid IN ('unleash_tokens.guard_role_key'::regclass, 'unleash_tokens.project_pkey'::regclass);
INSERT INTO unleash_tokens.guard_role (type, role) VALUES ('client', 'regress_most');
INSERT INTO unleash_tokens.project (id) VALUES ('unindexed');
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "guarded"}') ->> 'secret' AS guarded \gset
SELECT unleash_tokens.guard(:'guarded') ->> 'tokenName' AS guarded, current_user, unleash_tokens.token_reaches('unindexed'), unleash_tokens.token_projects();
ROLLBACK;
-- nor does it ask for their names
BEGIN;
CREATE ROLE regress_most;
SELECT unleash_tokens.set_guard_role('client', 'regress_most');
ALTER INDEX unleash_tokens.guard_role_key RENAME TO other_key;
ALTER INDEX unleash_tokens.project_pkey RENAME TO other_pkey;
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "guarded"}') ->> 'secret' AS guarded \gset
SELECT unleash_tokens.guard(:'guarded') ->> 'tokenName' AS guarded, current_user, unleash_tokens.token_reaches('default'), unleash_tokens.token_projects();
ROLLBACK;
