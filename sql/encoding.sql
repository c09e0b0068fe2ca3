--
-- Names outside ASCII, in databases of any encoding.  The secret is text of
-- the database; its digest and its checksum are over UTF-8, so that it stays
-- good when the tokens move to a database of another encoding.
--
-- Nothing outside ASCII is printed: the output is the same in all of them.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
CREATE EXTENSION IF NOT EXISTS pgcrypto;
DROP DATABASE IF EXISTS regress_unleash_latin1;
DROP DATABASE IF EXISTS regress_unleash_sql_ascii;
DROP DATABASE IF EXISTS regress_unleash_euc_jp;
DROP DATABASE IF EXISTS regress_unleash_mule;
RESET client_min_messages;

SELECT current_database() AS here, quote_ident(nspname) AS digest_schema
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE extname = 'pgcrypto' \gset
CREATE DATABASE regress_unleash_latin1 TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C';
CREATE DATABASE regress_unleash_sql_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C';
CREATE DATABASE regress_unleash_euc_jp TEMPLATE template0 ENCODING 'EUC_JP' LOCALE_PROVIDER libc LOCALE 'C';
CREATE DATABASE regress_unleash_mule TEMPLATE template0 ENCODING 'MULE_INTERNAL' LOCALE_PROVIDER libc LOCALE 'C';


-- Make a token of these names and see whether it comes back with them, and
-- whether its digest is that of its UTF-8 form.
\set make 'CREATE FUNCTION pg_temp.make(p text, e text, n text, OUT names boolean, OUT verifier boolean, OUT events boolean) LANGUAGE plpgsql AS $$ DECLARE s text; v jsonb; BEGIN s := unleash_tokens.create_api_token(jsonb_build_object(''type'', ''client'', ''tokenName'', n, ''project'', p, ''environment'', e)) ->> ''secret''; v := unleash_tokens.validate_api_token(s); names := v ->> ''tokenName'' = n AND v -> ''projects'' = jsonb_build_array(p) AND v ->> ''environment'' = e AND s LIKE p || '':'' || e || ''.v2\_%''; verifier := t.verifier = digest(CASE WHEN getdatabaseencoding() = ''SQL_ASCII'' THEN convert_to(s, ''SQL_ASCII'') ELSE convert_to(s, ''UTF8'') END, ''sha256'') FROM unleash_tokens.api_token t WHERE selector = v ->> ''selector''; events := count(*) = 1 FROM unleash_tokens.api_token_event WHERE selector = v ->> ''selector'' AND token_name = n AND data -> ''projects'' = v -> ''projects''; END $$'

--
-- UTF8
--
BEGIN;
SET LOCAL search_path = public, :digest_schema;
:make;
INSERT INTO unleash_tokens.project (id) VALUES (U&'\65E5\672C'), (U&'stra\00DFe');
INSERT INTO unleash_tokens.environment (name) VALUES (U&'\+01F600');
SELECT m.* FROM unnest(ARRAY[U&'\65E5\672C', U&'stra\00DFe']) AS p, LATERAL pg_temp.make(p, U&'\+01F600', U&'\00E9\+01F600') AS m;
ROLLBACK;

--
-- LATIN1
--
\c regress_unleash_latin1
SET client_min_messages = warning;
CREATE EXTENSION unleash_tokens;
CREATE EXTENSION pgcrypto;
:make;
INSERT INTO unleash_tokens.project (id) VALUES (U&'stra\00DFe'), (U&'\00C0\00E9');
INSERT INTO unleash_tokens.environment (name) VALUES (U&'\00FF');
SELECT m.*, octet_length(p) = length(p) AS one_byte_each
FROM unnest(ARRAY[U&'stra\00DFe', U&'\00C0\00E9']) AS p, LATERAL pg_temp.make(p, U&'\00FF', U&'\00E9') AS m;

-- C1 control characters are such here too, where they are one byte.
\set VERBOSITY sqlstate
INSERT INTO unleash_tokens.project (id) VALUES (E'a\x85');
SELECT unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', E'a\x85'));

-- What was sent is shown again as it was sent.
\set VERBOSITY default
SELECT unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', 'n', 'project', 'nope'));

--
-- SQL_ASCII keeps bytes; those of UTF-8 are as good as in a database of UTF8.
--
\c regress_unleash_sql_ascii
SET client_min_messages = warning;
SET client_encoding = 'SQL_ASCII';
CREATE EXTENSION unleash_tokens;
CREATE EXTENSION pgcrypto;
:make;
INSERT INTO unleash_tokens.project (id) VALUES (E'\xE6\x97\xA5\xE6\x9C\xAC'), (E'stra\xC3\x9Fe');
INSERT INTO unleash_tokens.environment (name) VALUES (E'\xF0\x9F\x98\x80');
SELECT m.* FROM unnest(ARRAY[E'\xE6\x97\xA5\xE6\x9C\xAC', E'stra\xC3\x9Fe']) AS p, LATERAL pg_temp.make(p, E'\xF0\x9F\x98\x80', E'\xC3\x89') AS m;

-- C0 characters are refused, and so are those of C1 in the form they have in UTF-8.
\set VERBOSITY sqlstate
INSERT INTO unleash_tokens.project (id) VALUES (E'a\x1F');
INSERT INTO unleash_tokens.project (id) VALUES (E'a\xC2\x85');
SELECT unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', E'a\xC2\x85'));
-- Bytes that are no UTF-8 have no place in an answer: refused, and nothing kept.
SELECT unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', E'not kept \xE9'));
SELECT count(*) AS kept FROM unleash_tokens.api_token WHERE token_name LIKE 'not kept%';
SELECT unleash_tokens.validate_api_token(E'\xE9');

--
-- EUC_JP, of several bytes, and with places that Unicode does not know
--
\c regress_unleash_euc_jp
SET client_min_messages = warning;
CREATE EXTENSION unleash_tokens;
CREATE EXTENSION pgcrypto;
:make;
INSERT INTO unleash_tokens.project (id) VALUES (U&'\65E5\672C');
INSERT INTO unleash_tokens.environment (name) VALUES (U&'\30C6\30B9\30C8');
SELECT * FROM pg_temp.make(U&'\65E5\672C', U&'\30C6\30B9\30C8', U&'\6771\4EAC');
\set VERBOSITY sqlstate
-- A name that has no form in UTF-8 makes no token, and takes no backend down.
CREATE FUNCTION pg_temp.enter(id text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO unleash_tokens.project (id) VALUES (id);
EXCEPTION WHEN others THEN
	NULL;						-- refused here or at the token: both will do
END
$$;
SELECT pg_temp.enter(E'a\xA2\xAF'), pg_temp.enter(E'\xA2\xAF');
DO $$
DECLARE
	body jsonb;
BEGIN
	FOREACH body IN ARRAY ARRAY[jsonb_build_object('project', E'a\xA2\xAF'), jsonb_build_object('project', E'\xA2\xAF'),
		jsonb_build_object('environment', E'\xA2\xAF'), jsonb_build_object('tokenName', E'\xA2\xAF')]
	LOOP
		BEGIN
			PERFORM unleash_tokens.create_api_token('{"type": "client", "tokenName": "n"}' || body);
			RAISE WARNING 'a token was made';
		EXCEPTION WHEN invalid_parameter_value OR untranslatable_character THEN
			NULL;
		END;
	END LOOP;
END
$$;
SELECT unleash_tokens.validate_api_token(E'a\xA2\xAF') AS validated;
SELECT count(*) AS tokens FROM unleash_tokens.api_token;

--
-- MULE_INTERNAL has no conversion to UTF-8: what is more than ASCII is refused
-- by what it is, and all else works.
--
\c regress_unleash_mule
SET client_min_messages = warning;
SET client_encoding = 'MULE_INTERNAL';
CREATE EXTENSION unleash_tokens;
\set VERBOSITY terse
INSERT INTO unleash_tokens.project (id) VALUES ('plain'), (E'stra\x81\xDFe');
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "n", "project": "plain"}') ->> 'secret' AS secret \gset
SELECT unleash_tokens.validate_api_token(:'secret') - 'selector' AS validated;
SELECT unleash_tokens.validate_api_token(E'stra\x81\xDFe') AS validated;
SELECT unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', E'\x81\xDF', 'project', 'plain')) ->> 'tokenName' = E'\x81\xDF' AS named;
SELECT unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', 'n', 'project', E'stra\x81\xDFe'));
SELECT unleash_tokens.import_api_tokens(jsonb_build_array(jsonb_build_object('secret', E'stra\x81\xDFe' || repeat('0', 40), 'type', 'client', 'tokenName', 'n', 'environment', 'development', 'projects', '["plain"]'::jsonb)));
INSERT INTO unleash_tokens.project (id) VALUES (E'a\x1F');
INSERT INTO unleash_tokens.project (id) VALUES (E'a\x81\x85');
SELECT convert_from(unleash_tokens.rest_api()::bytea, 'SQL_ASCII') ~ '^{"id":' AS answered;

\c :here
DROP DATABASE regress_unleash_mule;
DROP DATABASE regress_unleash_latin1;
DROP DATABASE regress_unleash_sql_ascii;
DROP DATABASE regress_unleash_euc_jp;
