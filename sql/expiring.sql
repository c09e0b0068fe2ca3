--
-- The view api_tokens_expiring and the setting unleash_tokens.expiry_notice.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
RESET client_min_messages;
\set VERBOSITY default
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset null '(null)'
\set ON_ERROR_ROLLBACK on
LOAD 'unleash_tokens';
SET timezone = 'UTC';

SELECT vartype, context, boot_val, setting FROM pg_settings WHERE name = 'unleash_tokens.expiry_notice';
SELECT unleash_tokens.get_notice_days();

-- What is no list of different days is refused, where the whole server gets its settings.
SET unleash_tokens.expiry_notice = 3;
ALTER SYSTEM SET unleash_tokens.expiry_notice = 'x';
ALTER SYSTEM SET unleash_tokens.expiry_notice = 30, 7, 0;
ALTER SYSTEM SET unleash_tokens.expiry_notice = '-1';
ALTER SYSTEM SET unleash_tokens.expiry_notice = '3651';
ALTER SYSTEM SET unleash_tokens.expiry_notice = '99999999999999999999';
ALTER SYSTEM SET unleash_tokens.expiry_notice = '1.5';
ALTER SYSTEM SET unleash_tokens.expiry_notice = '7 days';
ALTER SYSTEM SET unleash_tokens.expiry_notice = '7,,1';
ALTER SYSTEM SET unleash_tokens.expiry_notice = '7, 07';
ALTER SYSTEM SET unleash_tokens.expiry_notice = '1,2,3,4,5,6,7,8,9,10,11';

BEGIN;
DELETE FROM unleash_tokens.api_token;
INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b');
CREATE FUNCTION pg_temp.wire(moment timestamptz) RETURNS text LANGUAGE sql RETURN to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');
SELECT count(unleash_tokens.create_api_token(jsonb_build_object('type', type, 'tokenName', name, 'projects', projects, 'expiresAt', pg_temp.wire(clock_timestamp() + life)))) FROM (VALUES
	('frontend', 'a minute', '["b", "a"]'::jsonb, interval '1 minute'), ('client', 'a day', '["*"]', '1 day'), ('client', 'more than a day', '["a"]', '1 day 1 minute'),
	('admin', 'almost a month', '["*"]', '29 days 23:59'), ('client', 'more than a month', '["*"]', '30 days 00:01'), ('client', 'expired', '["*"]', '-1 second'), ('client', 'never', '["*"]', NULL)) AS v (type, name, projects, life);
SELECT token_name, type, environment, projects, all_projects, days_left, expires_at > created_at, seen_at, created_by = session_user FROM unleash_tokens.api_tokens_expiring ORDER BY expires_at;

-- It is read by index, however many tokens there are.
INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, created_at, expires_at)
SELECT 'many' || lpad(i::text, 18, '0'), sha256(i::text::bytea), i::text, 'client', 'development', true, now(), CASE WHEN i % 2 = 0 THEN now() + interval '2 years' + i * interval '1 minute' END FROM generate_series(1, 20000) AS i;
ANALYZE unleash_tokens.api_token;
CREATE FUNCTION pg_temp.scans(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		IF line ~ ' on api_token t' OR line ~ 'Index Cond: .*expires_at' THEN
			RETURN NEXT regexp_replace(btrim(line, ' ->'), '<= .*', '<= (the last day)');
		END IF;
	END LOOP;
END
$$;
SELECT * FROM pg_temp.scans('SELECT * FROM unleash_tokens.api_tokens_expiring ORDER BY expires_at LIMIT 10');
SELECT * FROM pg_temp.scans('SELECT * FROM unleash_tokens.api_tokens_expiring WHERE days_left <= 7');
SELECT count(*) FROM unleash_tokens.api_tokens_expiring;

-- Who may not read it may not.
CREATE ROLE regress_unleash_curious;
GRANT USAGE ON SCHEMA unleash_tokens TO regress_unleash_curious;
SET ROLE regress_unleash_curious;
SELECT * FROM unleash_tokens.api_tokens_expiring;
SELECT unleash_tokens.get_notice_days();
RESET ROLE;

ROLLBACK;
