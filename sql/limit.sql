--
-- unleash_tokens.max_tokens.  What several sessions do at once is in specs/
-- and t/.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
RESET client_min_messages;
\set VERBOSITY default
\set SHOW_CONTEXT never
\set ON_ERROR_ROLLBACK on

-- The setting is known once the library is loaded.
LOAD 'unleash_tokens';
SELECT name, vartype, context, min_val, max_val, boot_val, setting FROM pg_settings WHERE name = 'unleash_tokens.max_tokens';
SET unleash_tokens.max_tokens = -1;
SET unleash_tokens.max_tokens = 'many';
SET unleash_tokens.no_such_setting = 1;

BEGIN;
CREATE FUNCTION pg_temp.make(name text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', name));
	RETURN 'made';
EXCEPTION WHEN raise_exception THEN
	RETURN 'refused';
END
$$;

-- No limit, no lock: creators do not wait for each other.
SELECT pg_temp.make('unlimited');
SELECT count(*) AS locks FROM pg_locks WHERE locktype = 'object' AND pid = pg_backend_pid() AND objsubid = 1;

-- The last place, and the words for whoever comes after.
DELETE FROM unleash_tokens.api_token;
SET unleash_tokens.max_tokens = 2;
SELECT pg_temp.make('1');
SELECT pg_temp.make('2');
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "3"}');

-- The lock is held to the end of the transaction, and is not a user's advisory one.
SELECT locktype, classid::regclass, objsubid, mode FROM pg_locks
WHERE locktype IN ('object', 'advisory') AND pid = pg_backend_pid() AND objsubid = 1;

-- Expired tokens and admin tokens count.
UPDATE unleash_tokens.api_token SET expires_at = '2001-01-01';
SELECT pg_temp.make('3');
DELETE FROM unleash_tokens.api_token;
SELECT unleash_tokens.create_api_token('{"type": "admin", "tokenName": "1"}') IS NOT NULL AS made;
SELECT pg_temp.make('2'), pg_temp.make('3');

-- A place that became free is free at once, also one whose maker was rolled back.
DELETE FROM unleash_tokens.api_token WHERE token_name = '2';
SELECT pg_temp.make('3');
SELECT pg_temp.make('4');
DELETE FROM unleash_tokens.api_token WHERE token_name = '3';
SAVEPOINT attempt;
SELECT pg_temp.make('4');
ROLLBACK TO attempt;
SELECT pg_temp.make('5');
SELECT pg_temp.make('6');

-- One statement that makes several sees those it has made.
DELETE FROM unleash_tokens.api_token;
SET unleash_tokens.max_tokens = 5;
SELECT i, pg_temp.make(i::text) FROM generate_series(1, 7) AS i ORDER BY i;
SELECT count(*) FROM unleash_tokens.api_token;

-- A limit below what is there takes nothing away, and those validate.
TRUNCATE unleash_tokens.api_token CASCADE;
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "1"}') ->> 'secret' AS secret \gset
SELECT pg_temp.make('2');
SET unleash_tokens.max_tokens = 1;
SELECT pg_temp.make('3');
SELECT unleash_tokens.validate_api_token(:'secret') ->> 'tokenName' AS validated, count(*) FROM unleash_tokens.api_token;
SET unleash_tokens.max_tokens = 0;
SELECT pg_temp.make('3');
ROLLBACK;

--
-- Only a superuser, or who was granted it, sets the limit; it holds for all.
--
BEGIN;
CREATE ROLE regress_unleash_maker;
GRANT USAGE ON SCHEMA unleash_tokens TO regress_unleash_maker;
GRANT EXECUTE ON FUNCTION unleash_tokens.create_api_token(jsonb) TO regress_unleash_maker;
SET unleash_tokens.max_tokens = 1;
SET ROLE regress_unleash_maker;
SET unleash_tokens.max_tokens = 0;
SELECT set_config('unleash_tokens.max_tokens', '0', true);
RESET unleash_tokens.max_tokens;
SHOW unleash_tokens.max_tokens;
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "1"}') IS NOT NULL AS made;
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "2"}');
ROLLBACK;
