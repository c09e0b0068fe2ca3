--
-- unleash_tokens.max_lifetime and enforce_lifetime().
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
SET intervalstyle = postgres;

SELECT vartype, context, unit, min_val, boot_val, setting FROM pg_settings WHERE name = 'unleash_tokens.max_lifetime';

BEGIN;
DELETE FROM unleash_tokens.api_token;

-- The days that a token made with this expiry may live, or what is said against it.
CREATE FUNCTION pg_temp.days(expiry text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	token jsonb;
	state text;
	said text;
	detail text;
BEGIN
	token := unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', 'n') ||
		CASE WHEN expiry IS NULL THEN '{}' ELSE jsonb_build_object('expiresAt', nullif(expiry, 'null')::text) END);
	RETURN coalesce(((token ->> 'expiresAt')::timestamptz - (token ->> 'createdAt')::timestamptz)::text, 'for ever');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, said = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' | ', state, said, regexp_replace(detail, '\d{4}-[^ ]*Z', '(time)'));
END
$$;
CREATE FUNCTION pg_temp.wire(moment timestamptz) RETURNS text LANGUAGE sql RETURN to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

-- Without a bound: as it always was, and nothing to enforce.
SELECT pg_temp.days(NULL), pg_temp.days('null'), pg_temp.days('9999-12-31T23:59:59Z') > '2900000 days';
SELECT * FROM unleash_tokens.enforce_lifetime();

-- With one: none, or null, becomes the latest; a later one is refused; an earlier one stays.
SET unleash_tokens.max_lifetime = '90d';
SELECT pg_temp.days(NULL), pg_temp.days('null');
SELECT pg_temp.days(pg_temp.wire(clock_timestamp() + '91 days'));
SELECT pg_temp.days(pg_temp.wire(clock_timestamp() + '89 days'))::interval BETWEEN '88 days 23 hours' AND '89 days';
SELECT pg_temp.days('2001-01-01T00:00:00Z') LIKE '-%';

-- In create_api_tokens() too, with the element.
CREATE FUNCTION pg_temp.say(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	detail text;
BEGIN
	EXECUTE command INTO answer;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' | ', SQLSTATE, SQLERRM, regexp_replace(detail, '\d{4}-[^ ]*Z', '(time)'));
END
$$;
SELECT pg_temp.say($$SELECT unleash_tokens.create_api_tokens('[{"type": "client", "tokenName": "n"}, {"type": "client", "tokenName": "n", "expiresAt": "9999-01-01T00:00:00Z"}]')$$);
SELECT count(*) FILTER (WHERE a.token ->> 'expiresAt' IS NOT NULL) FROM jsonb_array_elements(
	unleash_tokens.create_api_tokens('[{"type": "client", "tokenName": "n"}, {"type": "admin", "tokenName": "n", "expiresAt": null}]')) AS a (token);

-- Changes: the bound counts from when the token was made.
SELECT selector FROM unleash_tokens.api_token WHERE expires_at > created_at + '89 days' ORDER BY created_at LIMIT 1 \gset
SELECT pg_temp.say(format($$SELECT unleash_tokens.update_api_token(%L, '{"expiresAt": "9999-01-01T00:00:00Z"}')$$, :'selector'));
SELECT (token ->> 'expiresAt')::timestamptz - (token ->> 'createdAt')::timestamptz FROM unleash_tokens.update_api_token(:'selector', '{"expiresAt": null}') AS token;
SELECT unleash_tokens.update_api_token('utok000000000000000000', '{"expiresAt": "9999-01-01T00:00:00Z"}');

-- What dry_run lists is what enforcement changes, and nothing else; imported tokens keep what they had until then.
SELECT unleash_tokens.import_api_tokens('[{"type": "client", "tokenName": "imported", "secret": "*:development.0123456789abcdef0123456789abcdef0123456789abcdef01234567", "projects": ["*"], "environment": "development", "createdAt": "2020-01-01T00:00:00Z"}]') -> 'imported';
CREATE TEMP TABLE before AS SELECT selector, expires_at FROM unleash_tokens.api_token;
CREATE TEMP TABLE listed AS SELECT * FROM unleash_tokens.enforce_lifetime();
SELECT token_name, type, expires_at - created_at > '90 days', new_expires_at - created_at, count(*) FROM listed GROUP BY 1, 2, 3, 4 ORDER BY 1;
SELECT count(*) FROM unleash_tokens.api_token AS t JOIN before AS b USING (selector) WHERE t.expires_at IS DISTINCT FROM b.expires_at;
CREATE TEMP TABLE enforced AS SELECT * FROM unleash_tokens.enforce_lifetime(false);
SELECT count(*) FROM ((TABLE listed EXCEPT TABLE enforced) UNION ALL (TABLE enforced EXCEPT TABLE listed)) AS d;
SELECT count(*) FROM unleash_tokens.api_token AS t LEFT JOIN listed AS l USING (selector) JOIN before AS b USING (selector)
	WHERE t.expires_at IS DISTINCT FROM coalesce(l.new_expires_at, b.expires_at);
SELECT count(*) = (SELECT count(*) FROM listed), bool_and(e.type = 'api-token-updated') FROM unleash_tokens.api_token_event AS e
	JOIN listed AS l ON e.selector = l.selector AND e.data ->> 'expiresAt' = pg_temp.wire(l.new_expires_at);
SELECT * FROM unleash_tokens.enforce_lifetime();

-- The same for random tokens of any age, more than fit into one batch.
INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, created_at, expires_at)
SELECT 'random' || lpad(i::text, 16, '0'), sha256(i::text::bytea), i::text, 'client', 'development', true, created_at,
	CASE WHEN random() < 0.2 THEN NULL ELSE created_at + (random() * 180 - 10) * interval '1 day' END
FROM (SELECT i, timestamptz '2020-01-01Z' + random() * interval '3000 days' AS created_at FROM generate_series(1, 2500) AS i) AS r;
CREATE TEMP TABLE random_listed AS SELECT * FROM unleash_tokens.enforce_lifetime(true);
SELECT count(*) > 1000, bool_and(expires_at IS NULL OR expires_at > created_at + '90 days'), bool_and(new_expires_at = created_at + '90 days') FROM random_listed;
SELECT count(*) FROM ((SELECT selector FROM random_listed) EXCEPT ALL (SELECT selector FROM unleash_tokens.api_token WHERE expires_at IS NULL OR expires_at > created_at + '90 days')) AS d;
CREATE TEMP TABLE random_enforced AS SELECT * FROM unleash_tokens.enforce_lifetime(false);
SELECT count(*) FROM ((TABLE random_listed EXCEPT TABLE random_enforced) UNION ALL (TABLE random_enforced EXCEPT TABLE random_listed)) AS d;
SELECT count(*) FROM unleash_tokens.api_token WHERE expires_at IS NULL OR expires_at > created_at + '90 days';

-- And for random bounds, one after the other, each with tokens that the ones before did not see.
CREATE TEMP TABLE faults (bound int, what text, n bigint);
DO $$
DECLARE
	bound int;
BEGIN
	FOR i IN 1 .. 20 LOOP
		bound := CASE i WHEN 1 THEN 1 WHEN 2 THEN 2147483647 ELSE power(10, 1 + random() * 8)::int END;
		PERFORM set_config('unleash_tokens.max_lifetime', bound::text, false);
		INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, created_at, expires_at)
		SELECT 'bound' || lpad((1000 * i + j)::text, 17, '0'), sha256((1000 * i + j)::text::bytea), j::text, 'client', 'development', true, created_at,
			CASE WHEN j % 5 > 0 THEN least(created_at + make_interval(secs => bound * CASE WHEN j % 5 = 1 THEN 1 ELSE random() * 2 END) + CASE WHEN j % 7 = 0 THEN interval '1 us' ELSE '0' END, '9999-12-31Z') END
		FROM (SELECT j, date_trunc('milliseconds', timestamptz '2000-01-01Z' + random() * interval '10000 days') AS created_at FROM generate_series(1, 200) AS j) AS r;
		CREATE TEMP TABLE was AS SELECT selector, expires_at FROM unleash_tokens.api_token;
		CREATE TEMP TABLE said AS SELECT * FROM unleash_tokens.enforce_lifetime();
		INSERT INTO faults SELECT bound, 'dry_run changes', count(*) FROM unleash_tokens.api_token AS t JOIN was AS w USING (selector) WHERE t.expires_at IS DISTINCT FROM w.expires_at;
		PERFORM unleash_tokens.enforce_lifetime(false);
		INSERT INTO faults SELECT bound, 'not as listed', count(*) FROM unleash_tokens.api_token AS t JOIN was AS w USING (selector) LEFT JOIN said AS s USING (selector)
			WHERE t.expires_at IS DISTINCT FROM coalesce(s.new_expires_at, w.expires_at) OR s.selector IS NOT NULL AND t.expires_at IS NOT DISTINCT FROM w.expires_at;
		INSERT INTO faults SELECT bound, 'still longer', count(*) FROM unleash_tokens.api_token
			WHERE expires_at IS NULL OR expires_at > least(created_at + make_interval(secs => bound), '9999-12-31 23:59:59.999Z');
		INSERT INTO faults SELECT bound, 'none listed', 1 WHERE NOT EXISTS (SELECT FROM said);
		DROP TABLE was, said;
	END LOOP;
	PERFORM set_config('unleash_tokens.max_lifetime', '90d', false);
END
$$;
SELECT what, count(*), sum(n) FROM faults GROUP BY what ORDER BY what;

-- Near the end of the calendar.
SET unleash_tokens.max_lifetime = 2147483647;
INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, created_at)
VALUES ('last000000000000000000', sha256('x'), 'last', 'client', 'development', true, '9990-01-01Z');
SELECT token_name, new_expires_at FROM unleash_tokens.enforce_lifetime(false) WHERE token_name = 'last';
SELECT count(*) FROM unleash_tokens.enforce_lifetime() WHERE token_name = 'last';
RESET unleash_tokens.max_lifetime;

-- Superusers set the bound, and who may not execute may not list.
CREATE ROLE regress_unleash_mortal;
SET ROLE regress_unleash_mortal;
SET unleash_tokens.max_lifetime = 0;
SELECT unleash_tokens.enforce_lifetime();
RESET ROLE;

ROLLBACK;
