--
-- create_api_tokens(): as many tokens as there may be in one call.  Too many for Valgrind, and so apart.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
CREATE EXTENSION IF NOT EXISTS pgcrypto;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on

BEGIN;
SET LOCAL statement_timeout = 0;
INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b') ON CONFLICT DO NOTHING;
SELECT jsonb_array_length(t), jsonb_path_exists(t, '$[99999].secret') FROM unleash_tokens.create_api_tokens(
	(SELECT jsonb_agg(jsonb_build_object('type', 'client', 'tokenName', i::text, 'projects', CASE WHEN i % 2 = 0 THEN '["a", "b"]'::jsonb ELSE '["*"]' END)) FROM generate_series(1, 100000) AS i)) AS t;
ROLLBACK;
