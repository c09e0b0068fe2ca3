--
-- Events: written with the change or not at all, on behalf of the right one,
-- and without what must stay secret.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
\pset null '(null)'
\set VERBOSITY sqlstate
\set ON_ERROR_ROLLBACK on

BEGIN;
INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b');
CREATE TEMP TABLE secret ON COMMIT DROP AS
	SELECT body ->> 'tokenName' AS name, unleash_tokens.create_api_token(body) AS answer
	FROM unnest(ARRAY[
		'{"type": "client", "tokenName": "all"}', '{"type": "backend", "tokenName": "b,a", "projects": ["b", "a"]}',
		'{"type": "frontend", "tokenName": "b", "project": "b", "environment": "production", "expiresAt": "2100-01-01T00:00:00Z"}',
		'{"type": "admin", "tokenName": "admin"}']::jsonb[]) AS v (body);
DELETE FROM unleash_tokens.project WHERE id = 'b';

SELECT e.type, e.token_name, e.actor = current_user AS by_me, e.actor_selector, e.data - 'createdAt' AS data, e.pre_data - 'createdAt' AS pre_data
FROM unleash_tokens.api_token_event AS e ORDER BY id;

-- Event, token and answer agree.
SELECT name, count(*) FILTER (WHERE e.type = 'api-token-created' AND e.data = s.answer - 'secret' - 'secure') AS created,
	count(*) FILTER (WHERE e.type = 'api-token-deleted' AND e.pre_data -> 'createdAt' = s.answer -> 'createdAt') AS deleted,
	bool_and(s.answer ->> 'secret' LIKE '%.v2\_' || e.selector || '\_%') AS selectors,
	bool_and(abs(extract(epoch FROM clock_timestamp() - e.at)) < 600) AS now
FROM secret AS s JOIN unleash_tokens.api_token_event AS e ON e.token_name = s.name
GROUP BY name ORDER BY name COLLATE "C";
SELECT bool_and(rises) AS ids_rise FROM (SELECT id > lag(id, 1, 0::bigint) OVER (ORDER BY at, id) AS rises FROM unleash_tokens.api_token_event) AS e;

-- Nothing of a key and no verifier in any column, in any form.
SELECT count(*) FILTER (WHERE position(right(answer ->> 'secret', 43) IN row::text) > 0) AS secrets,
	count(*) FILTER (WHERE position(encode(sha256(convert_to(answer ->> 'secret', 'UTF8')), 'hex') IN row::text) > 0) AS verifiers,
	count(*) FILTER (WHERE position(encode(sha256(convert_to(answer ->> 'secret', 'UTF8')), 'base64') IN row::text) > 0) AS verifiers64,
	count(*) > 0 AS looked
FROM secret, unleash_tokens.api_token_event AS row;
SELECT DISTINCT key FROM unleash_tokens.api_token_event, jsonb_object_keys(data) AS key ORDER BY key;
ROLLBACK;

--
-- The actor is who acts: the role that was set, not the owner of the
-- extension that the functions run as, nor who first logged in.
--
BEGIN;
INSERT INTO unleash_tokens.project (id) VALUES ('a');
CREATE ROLE regress_unleash_creator;
CREATE ROLE "regress_unleash ""odd"" Role";
GRANT USAGE ON SCHEMA unleash_tokens TO regress_unleash_creator, "regress_unleash ""odd"" Role";
GRANT EXECUTE ON FUNCTION unleash_tokens.create_api_token(jsonb) TO regress_unleash_creator, "regress_unleash ""odd"" Role";
GRANT DELETE, SELECT ON unleash_tokens.project TO regress_unleash_creator;
SET ROLE regress_unleash_creator;
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "1 set role", "project": "a"}') IS NOT NULL AS made;
SET ROLE "regress_unleash ""odd"" Role";
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "2 odd name"}') IS NOT NULL AS made;
RESET ROLE;
SET SESSION AUTHORIZATION regress_unleash_creator;
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "3 session"}') IS NOT NULL AS made;
RESET SESSION AUTHORIZATION;

-- Through a function of somebody else it is still who calls.
CREATE FUNCTION public.regress_unleash_wrapper() RETURNS jsonb LANGUAGE sql SECURITY DEFINER
	AS $$SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "4 through a function"}')$$;
SET ROLE regress_unleash_creator;
SELECT public.regress_unleash_wrapper() IS NOT NULL AS made;

-- What they say of themselves counts for nothing.
SELECT set_config('request.jwt.claims', '{"role": "somebody else"}', true) <> '' AS set;
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "5 with claims"}') IS NOT NULL AS made;

-- A token that goes with its project goes on behalf of who removed that.
DELETE FROM unleash_tokens.project WHERE id = 'a';
RESET ROLE;
SELECT e.token_name, e.type, e.actor, e.actor_selector, t.created_by
FROM unleash_tokens.api_token_event AS e LEFT JOIN unleash_tokens.api_token AS t USING (selector)
ORDER BY e.token_name COLLATE "C", e.id;
ROLLBACK;

--
-- No event without a change, no change without an event.
--
BEGIN;
SELECT unleash_tokens.create_api_token('{"type": "root", "tokenName": "refused"}');
SAVEPOINT s;
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "rolled back"}') IS NOT NULL AS made;
ROLLBACK TO s;
SELECT count(*) AS events FROM unleash_tokens.api_token_event;
CREATE FUNCTION pg_temp.fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE disk_full; END$$;
CREATE TRIGGER fail BEFORE INSERT ON unleash_tokens.api_token_event FOR EACH ROW EXECUTE FUNCTION pg_temp.fail();
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "no event"}');
SELECT (SELECT count(*) FROM unleash_tokens.api_token) AS tokens, (SELECT count(*) FROM unleash_tokens.api_token_event) AS events;
ROLLBACK;
