--
-- create_api_tokens(): many tokens at once, all or none.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
CREATE EXTENSION IF NOT EXISTS pgcrypto;
RESET client_min_messages;
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\set ON_ERROR_ROLLBACK on
LOAD 'unleash_tokens';

BEGIN;

SELECT quote_ident(nspname) || '.digest' AS digest
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE extname = 'pgcrypto' \gset

INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b');

-- In the order asked for, by the rules of create.
CREATE TEMP TABLE made AS
SELECT a.ord, a.token FROM jsonb_array_elements(unleash_tokens.create_api_tokens('[
	{"type": "client", "tokenName": "one", "project": "b"},
	{"type": "ADMIN", "tokenName": "two", "expiresAt": "2031-01-01T00:00:00Z"},
	{"type": "frontend", "tokenName": "one", "projects": ["b", "a"], "environment": "production"},
	{"type": "backend", "tokenName": "three", "projects": ["*"], "secret": "chosen", "unknown": 1}]')) WITH ORDINALITY AS a (token, ord);
SELECT ord, token - ARRAY['secret', 'createdAt'] FROM made ORDER BY ord;

-- Each secret is that of its token, in the table as its digest alone, and there is an event for each.
SELECT ord, unleash_tokens.validate_api_token(token ->> 'secret') - 'selector' FROM made ORDER BY ord;
SELECT count(*), count(DISTINCT verifier) FROM unleash_tokens.api_token AS t JOIN made AS m
	ON t.verifier = :digest(convert_to(m.token ->> 'secret', 'UTF8'), 'sha256') AND t.token_name = m.token ->> 'tokenName';
SELECT e.type, e.token_name, e.actor = session_user, e.actor_selector, e.data = m.token - ARRAY['secret', 'secure'], e.pre_data
FROM unleash_tokens.api_token_event AS e JOIN made AS m ON m.token ->> 'secret' LIKE '%' || e.selector || '%' ORDER BY m.ord;
SELECT p.project, p.ord FROM unleash_tokens.api_token_project AS p JOIN made AS m ON m.token ->> 'secret' LIKE '%' || p.selector || '%' ORDER BY m.ord, p.ord;

SELECT unleash_tokens.create_api_tokens('[]');
-- What comes back is as jsonb has it, of whatever length: each element is found, and what is built of them anew is the same.
CREATE TEMP TABLE sized AS SELECT n, unleash_tokens.create_api_tokens((SELECT jsonb_agg(jsonb_build_object('type', 'client', 'tokenName', repeat('n', i % 70) || 'x',
	'projects', CASE WHEN i % 3 = 0 THEN '["a", "b"]'::jsonb ELSE '["*"]' END)) FROM generate_series(1, n) AS i)) AS t FROM unnest(ARRAY[1, 2, 31, 32, 33, 64, 65, 500, 501, 1001]) AS n;
SELECT n, jsonb_array_length(t), t::text::jsonb = t, pg_column_size(t::text::jsonb) = pg_column_size(t || '[]'),
	(SELECT count(*) FROM generate_series(0, n - 1) AS i WHERE t -> i ->> 'tokenName' = repeat('n', (i + 1) % 70) || 'x' AND t -> i ->> 'secret' LIKE '%.v2\_utok%') FROM sized ORDER BY n;
SELECT count(*), count(DISTINCT (e ->> 'secret')), count(DISTINCT t.selector) FROM sized AS s, jsonb_array_elements(s.t) AS e JOIN unleash_tokens.api_token AS t
	ON t.verifier = :digest(convert_to(e ->> 'secret', 'UTF8'), 'sha256');
DELETE FROM unleash_tokens.api_token AS t USING sized AS s, jsonb_array_elements(s.t) AS e WHERE t.selector = split_part(split_part(e ->> 'secret', '.v2_', 2), '_', 1);

-- What is refused names the element, and nothing is made.
CREATE FUNCTION pg_temp.try(body jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text;
	said text;
	detail text;
BEGIN
	RETURN jsonb_array_length(unleash_tokens.create_api_tokens(body)) || ' made';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, said = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' | ', state, said, detail);
END
$$;
SELECT count(*) AS before FROM unleash_tokens.api_token \gset
SELECT n, pg_temp.try(body::jsonb) FROM (VALUES (1, NULL), (2, '{}'), (3, '"x"'), (4, '[1]'), (5, '[{"type": "client", "tokenName": "n"}, []]'),
	(6, '[{"type": "client", "tokenName": "n"}, {"type": "client"}]'), (7, '[{"type": "client", "tokenName": "n"}, {"type": "x", "tokenName": "n"}]'),
	(8, '[{"type": "client", "tokenName": "n"}, {"type": "client", "tokenName": "n", "environment": "gone"}, {"type": "client", "tokenName": "n", "environment": "none"}]'),
	(9, '[{"type": "client", "tokenName": "n", "project": "a"}, {"type": "client", "tokenName": "n", "projects": ["a", "z", "y"]}, {"type": "client", "tokenName": "n", "project": "z"}]'),
	(10, '[{"type": "client", "tokenName": "n"}, {"type": "admin", "tokenName": "n", "environment": "a"}]'),
	(11, '[{"type": "client", "tokenName": "n"}, {"type": "client", "tokenName": "n", "expiresAt": "*:*.v2_aaaaaaaaaaaaaaaaaaaaaa_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"}]')) AS v (n, body) ORDER BY n;
SELECT pg_temp.try((SELECT jsonb_agg('{"type": "client", "tokenName": "n"}'::jsonb) FROM generate_series(1, 100001)));
SELECT count(*) = :before AS none_was_made FROM unleash_tokens.api_token;

-- The limit counts them all.
SELECT set_config('unleash_tokens.max_tokens', (:before + 2)::text, false) = (:before + 2)::text;
SELECT pg_temp.try('[{"type": "client", "tokenName": "n"}, {"type": "client", "tokenName": "n"}, {"type": "client", "tokenName": "n"}]') ~ 'P0001 . there are as many tokens as allowed . With these 3';
SELECT pg_temp.try('[{"type": "client", "tokenName": "n"}, {"type": "client", "tokenName": "n"}]');
SELECT pg_temp.try('[]'), pg_temp.try('[{"type": "client", "tokenName": "n"}]') ~ '^P0001';
RESET unleash_tokens.max_tokens;

-- A row that a trigger of others swallows is no token.
CREATE FUNCTION pg_temp.swallow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN CASE NEW.token_name WHEN 'swallowed' THEN NULL ELSE NEW END; END$$;
CREATE TRIGGER swallow BEFORE INSERT ON unleash_tokens.api_token FOR EACH ROW EXECUTE FUNCTION pg_temp.swallow();
SELECT pg_temp.try('[{"type": "client", "tokenName": "n"}, {"type": "client", "tokenName": "swallowed"}]');
DROP TRIGGER swallow ON unleash_tokens.api_token;

-- A name that no constraint kept short enough for a secret is an error, not a search without end.
SET LOCAL statement_timeout = '20s';
ALTER TABLE unleash_tokens.project DROP CONSTRAINT project_id_check;
INSERT INTO unleash_tokens.project (id) VALUES (repeat('x', 4100));
SELECT pg_temp.try(jsonb_build_array(jsonb_build_object('type', 'client', 'tokenName', 'n', 'project', repeat('x', 4100))));
DO $$
BEGIN
	PERFORM unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', 'n', 'project', repeat('x', 4100)));
EXCEPTION WHEN program_limit_exceeded THEN
	RAISE NOTICE '%', SQLERRM;
END
$$;

ROLLBACK;
