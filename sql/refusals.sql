--
-- The one table of refusals, and the page that is made from it.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens CASCADE;
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

-- doc/errors.md is what doc/generate-errors.sql says.
\getenv abs_srcdir PG_ABS_SRCDIR
\set generator :abs_srcdir '/doc/generate-errors.sql'
\pset format unaligned
\pset tuples_only on
\o | diff - "$PG_ABS_SRCDIR/doc/errors.md" && echo equal
\i :generator
\o
