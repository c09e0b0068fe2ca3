--
-- The one table of refusals, and the page that is made from it.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
RESET client_min_messages;

-- A refusal is known by its message: there are no two of the same.
SELECT message, count(*) FROM unleash_tokens.list_refusals()
GROUP BY message HAVING count(*) > 1;

--
-- Messages are PostgreSQL's primary messages: no capital, no full stop, one
-- line.  The HTTP door puts a capital and a full stop around them.  Hints are
-- whole sentences.  None holds a placeholder.
--
SELECT name, message FROM unleash_tokens.list_refusals()
WHERE message !~ '^[a-z]' AND message !~ '^API ' AND message !~ '^JSON '
	OR message ~ '[.!?: ]$' OR message ~ '[\r\n%]' OR length(message) > 80
ORDER BY message;
SELECT name, hint FROM unleash_tokens.list_refusals()
WHERE hint IS NULL OR hint !~ '^[A-Z]' OR hint !~ '[.]$' OR hint ~ '[\r\n]' OR length(hint) > 160
ORDER BY hint;

-- A name stands for one status, as clients of Unleash expect it.
SELECT DISTINCT name, status FROM unleash_tokens.list_refusals() ORDER BY status, name COLLATE "C";

--
-- PostgREST makes its status from the SQLSTATE: 400 of 22023 and P0001, 403 of
-- 42501.  A serialization failure (class 40) must never be there, since it is
-- tried again without end, nor PTxxx, whose message goes into the status line.
--
SELECT DISTINCT status, sqlstate FROM unleash_tokens.list_refusals() ORDER BY status, sqlstate;
SELECT count(*) AS dangerous FROM unleash_tokens.list_refusals() WHERE sqlstate ~ '^(40|PT|00|01|02)';

--
-- What was sent is shown in DETAIL, but nothing that could be the key of a
-- secret, whatever is around it.
--
CREATE FUNCTION pg_temp.shown(sent text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	PERFORM unleash_tokens.create_api_token(jsonb_build_object('type', sent, 'tokenName', 'x'));
	RETURN 'accepted';
EXCEPTION WHEN invalid_parameter_value THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN substring(detail FROM 'You sent (.*)\.$');
END $$;
\set v2 '*:development.v2_abcdefghijklmnopqrst-_' _ 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklm0123'
\set key 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklm0123'
\set v1 '*:development.0123456789abcdef0123456789abcdef'
\set own '*:development.v2_utokabcdefghijklmnopqr' _ 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklm0123'
SELECT pg_temp.shown(sent) FROM (VALUES
	(1, :'v2'), (2, :'v1'), (3, :'own'), (4, :'v2' || ' '), (5, :'v2' || ',' || :'v2'), (6, :'own' || ',' || :'v2'),
	(7, :'v1' || ',' || :'v2'), (8, :'v2' || ',' || :'v1'), (9, :'key'), (10, 'key=' || :'key' || ';'), (11, lower(:'key')),
	(12, left(:'key', 40)), (13, left(:'key', 39)), (14, 'a project.' || left(:'key', 32)), (15, 'a project.' || left(:'key', 31)),
	(16, '01234567-89ab-cdef-0123-456789abcdef'), (17, 'a-rather-long-name-of-nothing-but-small-letters')) AS v (n, sent)
ORDER BY n;

-- doc/errors.md is what doc/generate-errors.sql says.
\getenv abs_srcdir PG_ABS_SRCDIR
\set generator :abs_srcdir '/doc/generate-errors.sql'
\pset format unaligned
\pset tuples_only on
\o | diff - "$PG_ABS_SRCDIR/doc/errors.md" && echo equal
\i :generator
\o
