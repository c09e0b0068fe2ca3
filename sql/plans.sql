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
CREATE TEMP TABLE selectors AS SELECT selector FROM unleash_tokens.api_token;
SELECT count(unleash_tokens.update_api_token(selector, '{"expiresAt": "2099-01-01T00:00:00Z"}')),
	count(unleash_tokens.delete_api_token(selector)) FROM selectors;
-- but for the statement before, which read the tokens once
SELECT relname, seq_scan FROM pg_stat_xact_user_tables WHERE schemaname = 'unleash_tokens' AND seq_scan > 0 ORDER BY relname;
ROLLBACK;
