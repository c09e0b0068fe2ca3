--
-- rateLimit and allowedIps: what may be asked for, what is shown and stored, and what follows for guard(secret).
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

BEGIN;
DELETE FROM unleash_tokens.api_token;

-- What is said of a command: its value, or the refusal.
CREATE FUNCTION pg_temp.say(command text, VARIADIC args text[] DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	state text;
	said text;
	detail text;
BEGIN
	EXECUTE command INTO answer USING args[1], args[2];
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, said = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' | ', state, said, CASE state WHEN '23514' THEN NULL ELSE nullif(detail, '') END);
END
$$;
CREATE FUNCTION pg_temp.make(fields jsonb) RETURNS text LANGUAGE sql RETURN pg_temp.say($$
	SELECT jsonb_strip_nulls(jsonb_build_object('rateLimit', t -> 'rateLimit', 'allowedIps', t -> 'allowedIps'))
	FROM unleash_tokens.create_api_token('{"type": "client", "tokenName": "n"}' || $1::jsonb) AS t$$, fields::text);

-- ---- What may be asked for ----

SELECT pg_temp.make('{}');
SELECT pg_temp.make('{"rateLimit": null, "allowedIps": null}');
SELECT pg_temp.make(f::jsonb) FROM unnest(ARRAY[
	'{"rateLimit": {"limit": 100, "period": 60}}',
	'{"rateLimit": {"limit": 100, "period": 60, "burst": 5}}',
	'{"rateLimit": {"limit": 1, "period": 1, "burst": 1}}',
	'{"rateLimit": {"limit": 1000000, "period": 86400}}',
	'{"rateLimit": {"limit": 1000000, "period": 86400, "burst": 100000}}',
	'{"rateLimit": {}}',
	'{"rateLimit": 5}',
	'{"rateLimit": "100/60s"}',
	'{"rateLimit": [100, 60]}',
	'{"rateLimit": true}',
	'{"rateLimit": {"limit": 100}}',
	'{"rateLimit": {"period": 60}}',
	'{"rateLimit": {"limit": 100, "period": 60, "bust": 5}}',
	'{"rateLimit": {"limit": 0, "period": 60}}',
	'{"rateLimit": {"limit": -1, "period": 60}}',
	'{"rateLimit": {"limit": 1.5, "period": 60}}',
	'{"rateLimit": {"limit": 1e2, "period": 60}}',
	'{"rateLimit": {"limit": 1e300, "period": 60}}',
	'{"rateLimit": {"limit": "100", "period": 60}}',
	'{"rateLimit": {"limit": null, "period": 60}}',
	'{"rateLimit": {"limit": 1000001, "period": 60}}',
	'{"rateLimit": {"limit": 100, "period": 86401}}',
	'{"rateLimit": {"limit": 100, "period": 0}}',
	'{"rateLimit": {"limit": 100, "period": 60, "burst": 0}}',
	'{"rateLimit": {"limit": 100, "period": 60, "burst": 100001}}',
	'{"rateLimit": {"limit": 4294967297, "period": 60}}']) AS f;
SELECT pg_temp.make(f::jsonb) FROM unnest(ARRAY[
	'{"allowedIps": ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "2001:DB8::7", "0.0.0.0/0", "::/0"]}',
	'{"allowedIps": ["192.0.2.7/32", "2001:db8::7/128", "::ffff:192.0.2.7", "::ffff:10.0.0.0/104", "::ffff:0:0/96"]}',
	'{"allowedIps": []}',
	'{"allowedIps": {}}',
	'{"allowedIps": "10.0.0.0/8"}',
	'{"allowedIps": ["10.0.0.1", 5]}',
	'{"allowedIps": ["10.0.0.1", null]}',
	'{"allowedIps": [["10.0.0.1"]]}',
	'{"allowedIps": ["10.0.0.1/8"]}',
	'{"allowedIps": ["10.0.0.0/33"]}',
	'{"allowedIps": ["10.0.0.0/-1"]}',
	'{"allowedIps": ["10.0.0.0/08"]}',
	'{"allowedIps": ["10.0.0.0/"]}',
	'{"allowedIps": ["10"]}',
	'{"allowedIps": ["10.0.0"]}',
	'{"allowedIps": ["010.0.0.1"]}',
	'{"allowedIps": ["10.0.0.256"]}',
	'{"allowedIps": [""]}',
	'{"allowedIps": ["10.0.0.1 "]}',
	'{"allowedIps": ["10.0.0.1:80"]}',
	'{"allowedIps": ["[::1]"]}',
	'{"allowedIps": ["fe80::1%eth0"]}',
	'{"allowedIps": ["2001:db8::/129"]}',
	'{"allowedIps": ["2001:db8::7/64"]}',
	'{"allowedIps": ["::ffff:10.0.0.0/8"]}',
	'{"allowedIps": ["localhost"]}']) AS f;
SELECT pg_temp.make(jsonb_build_object('allowedIps', (SELECT jsonb_agg('10.0.' || i || '.0/24') FROM generate_series(1, 100) AS i))) LIKE '%10.0.100.0/24%';
SELECT pg_temp.make(jsonb_build_object('allowedIps', (SELECT jsonb_agg('10.0.' || i || '.0/24') FROM generate_series(1, 101) AS i)));
SELECT token_name, rate_limit, rate_period, rate_burst, allowed_ips FROM unleash_tokens.api_tokens
WHERE rate_limit = 1 OR cardinality(allowed_ips) BETWEEN 2 AND 99 ORDER BY allowed_ips::text;

-- ---- Many at once, and those that come from elsewhere ----

DELETE FROM unleash_tokens.api_token;
SELECT jsonb_path_query(unleash_tokens.create_api_tokens('[{"type": "client", "tokenName": "none"},
	{"type": "client", "tokenName": "both", "rateLimit": {"limit": 5, "period": 1}, "allowedIps": ["10.0.0.1", "2001:db8::/32"]},
	{"type": "client", "tokenName": "ips", "allowedIps": ["192.0.2.0/24"]}]'), '$[*]') - ARRAY['secret', 'createdAt', 'expiresAt', 'seenAt', 'alias', 'project', 'projects', 'environment', 'secure', 'type'];
SELECT pg_temp.say($$SELECT unleash_tokens.create_api_tokens('[{"type": "client", "tokenName": "a"}, {"type": "client", "tokenName": "b", "allowedIps": ["x"]}]')$$);
SELECT unleash_tokens.import_api_tokens(jsonb_build_array(
	'{"tokenName": "imported", "type": "client", "environment": "development", "projects": ["*"], "secret": "*:development.0123456789abcdef0123456789abcdef0123456789abcdef01234567",
	  "rateLimit": {"limit": 7, "period": 60}, "allowedIps": ["10.0.0.0/8"]}'::jsonb,
	'{"tokenName": "refused", "type": "client", "environment": "development", "projects": ["*"], "secret": "*:development.1123456789abcdef0123456789abcdef0123456789abcdef01234567",
	  "allowedIps": "all"}'::jsonb)) - 'weak';
SELECT token_name, rate_limit, rate_period, rate_burst, allowed_ips FROM unleash_tokens.api_tokens ORDER BY token_name;

-- The list shows them, as an event does, only where they are.
SELECT t - ARRAY['secret', 'createdAt', 'expiresAt', 'seenAt', 'alias', 'project', 'projects', 'environment', 'secure', 'type']
FROM jsonb_path_query(unleash_tokens.get_all_api_tokens(), '$.tokens[*]') AS t ORDER BY t ->> 'tokenName';
SELECT data - ARRAY['createdAt', 'expiresAt', 'seenAt', 'alias', 'project', 'projects', 'environment', 'type'] FROM unleash_tokens.api_token_event WHERE token_name = 'both';

-- ---- Changes: what is not said stays as it is ----

SELECT selector FROM unleash_tokens.api_token WHERE token_name = 'both' \gset
CREATE FUNCTION pg_temp.change(fields jsonb) RETURNS text LANGUAGE sql RETURN pg_temp.say($$
	SELECT jsonb_strip_nulls(jsonb_build_object('expiresAt', t -> 'expiresAt', 'rateLimit', t -> 'rateLimit', 'allowedIps', t -> 'allowedIps'))
	FROM unleash_tokens.update_api_token((SELECT selector FROM unleash_tokens.api_token WHERE token_name = 'both'), $1::jsonb) AS t$$, fields::text);
SELECT pg_temp.change(f::jsonb) FROM unnest(ARRAY[
	'{"expiresAt": "2031-05-06T07:08:09Z"}',
	'{"rateLimit": {"limit": 9, "period": 2, "burst": 3}}',
	'{"allowedIps": ["203.0.113.0/24"]}',
	'{"allowedIps": ["203.0.113.1/24"]}',
	'{"rateLimit": {"limit": 0, "period": 2}, "expiresAt": null}',
	'{"rateLimit": null}',
	'{"allowedIps": null, "expiresAt": null}',
	'{}',
	'{"ratelimit": null}']) AS f;
SELECT pre_data ->> 'rateLimit', data ->> 'rateLimit', pre_data ->> 'allowedIps', data ->> 'allowedIps' FROM unleash_tokens.api_token_event WHERE selector = :'selector' AND type = 'api-token-updated' ORDER BY id;

-- ---- What only the owner of the tables can write ----

SELECT pg_temp.say(format('UPDATE unleash_tokens.api_token SET %s WHERE token_name = ''both''', s)) FROM unnest(ARRAY[
	'rate_limit = 5', 'rate_limit = 5, rate_period = 0, rate_burst = 1', 'rate_period = 5', 'rate_burst = 5',
	'rate_limit = 5, rate_period = NULL, rate_burst = 1', 'allowed_ips = ''{}''', 'allowed_ips = ''{NULL}''', 'allowed_ips = ''{10.0.0.0/8,NULL}''']) AS s;

-- ---- Settings ----

SELECT pg_temp.say(format('SELECT set_config(''unleash_tokens.rate_limit_%s'', %L, true)', t, v)) FROM (VALUES
	('client', ''), ('client', '600/1min'), ('backend', '600/60 burst 50'), ('frontend', '10/1s burst 10'), ('admin', '1/1d'), ('admin', '1000000/1s'),
	('client', '600'), ('client', '/60s'), ('client', '600/'), ('client', '0/60s'), ('client', '-5/60s'), ('client', '600/0s'), ('client', '600/2d'), ('client', '600/60parsecs'),
	('client', '600/60s burst'), ('client', '600/60s burst 0'), ('client', '600/60s burst 100001'), ('client', '600/60s burst 5 6'), ('client', '600/60s5'), ('client', '1000001/60s'),
	('client', 'often'), ('client', '600/' || repeat('1', 100) || 's')) AS v (t, v);
SELECT pg_temp.say(format('SELECT set_config(''unleash_tokens.%s'', %L, true)', t, v)) FROM (VALUES
	('guard_address_header', 'X-Forwarded-For'), ('guard_address_header', ''), ('guard_address_header', 'a, b'), ('guard_address_header', 'X:'),
	('guard_trusted_proxies', ''), ('guard_trusted_proxies', '10.0.0.0/8,::1'), ('guard_trusted_proxies', ' 10.0.0.1 , 2001:db8::/32 '), ('guard_trusted_proxies', '10.0.0.1/8'), ('guard_trusted_proxies', 'all')) AS v (t, v);

-- ---- guard(secret): a unix socket has no address; an answer that is the same as for a token that is not there ----

SET LOCAL unleash_tokens.rate_limit_client = '';
CREATE ROLE rate_limit_guest;
SELECT unleash_tokens.set_guard_role('client', 'rate_limit_guest');
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "anywhere"}') ->> 'secret' AS anywhere,
	unleash_tokens.create_api_token('{"type": "client", "tokenName": "all", "allowedIps": ["0.0.0.0/0", "::/0"]}') ->> 'secret' AS listed \gset
SELECT unleash_tokens.validate_api_token(:'anywhere') ->> 'tokenName', unleash_tokens.validate_api_token(:'listed') IS NULL,
	(SELECT array_agg(token_name) FROM unleash_tokens.validate_api_tokens(ARRAY[:'listed', :'anywhere']));
SAVEPOINT guarded;
SELECT inet_client_addr() IS NULL AS has_none;
SELECT unleash_tokens.guard(:'listed');
SELECT unleash_tokens.guard('*:development.v2_aaaaaaaaaaaaaaaaaaaaaa_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb');
SELECT unleash_tokens.guard(:'anywhere') ->> 'tokenName';
ROLLBACK TO SAVEPOINT guarded;
ROLLBACK;
