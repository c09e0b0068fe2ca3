--
-- Rotation: a new secret beside the old one, until it was used.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens;
RESET client_min_messages;
\set VERBOSITY terse
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset null '(null)'
SET timezone = 'UTC';
SET intervalstyle = postgres;

-- Without the library in shared_preload_libraries no first use would be seen: then a rotation is refused.
SELECT count(validations) = 0 AS is_not_preloaded FROM unleash_tokens.stat \gset
\if :is_not_preloaded
SELECT unleash_tokens.rotate_api_token('nobody');
\quit
\endif

DELETE FROM unleash_tokens.api_token;
DELETE FROM unleash_tokens.api_token_event;
CREATE TABLE secret (id serial, token text, old text, new text);

CREATE FUNCTION make(token text, more jsonb DEFAULT '{}') RETURNS void LANGUAGE sql AS $$
	INSERT INTO secret (token, old) SELECT token, unleash_tokens.create_api_token('{"type": "client"}' || jsonb_build_object('tokenName', token) || more) ->> 'secret'
$$;
CREATE FUNCTION selector(which text) RETURNS text LANGUAGE sql RETURN
	(SELECT selector FROM unleash_tokens.api_token WHERE token_name = which);
-- Which of its secrets are valid: it makes no use of those that are not asked for.
CREATE FUNCTION old_valid(which text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN RETURN (SELECT unleash_tokens.validate_api_token(old) ->> 'tokenName' FROM secret WHERE token = which) IS NOT DISTINCT FROM which; END $$;
CREATE FUNCTION new_valid(which text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN RETURN (SELECT unleash_tokens.validate_api_token(new) ->> 'tokenName' FROM secret WHERE token = which) IS NOT DISTINCT FROM which; END $$;
CREATE FUNCTION rotate(which text, grace interval DEFAULT '1 day', activate_by interval DEFAULT '7 days') RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE answer jsonb := unleash_tokens.rotate_api_token(selector(which), grace, activate_by);
	BEGIN
		UPDATE secret SET new = answer ->> 'secret' WHERE token = which;
		RETURN answer;
	END $$;
-- Until the worker has written the first use.
CREATE PROCEDURE wait_for_grace(which text) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1..3000 LOOP
			IF EXISTS (SELECT FROM unleash_tokens.api_token WHERE token_name = which AND old_until IS NOT NULL) THEN
				RETURN;
			END IF;
			COMMIT;
			PERFORM pg_sleep(0.02);
		END LOOP;
		RAISE EXCEPTION 'the first use of % was not written', which;
	END $$;
CREATE VIEW happened AS
	SELECT type, token_name, actor = current_user AS by_me, actor_selector = selector AS by_itself, data - 'seenAt' - 'createdAt' AS data, pre_data -> 'rotation' ->> 'state' AS before
	FROM unleash_tokens.api_token_event WHERE type <> 'api-token-created' ORDER BY id;

--
-- Made: the same token with another secret, and both are valid.
--
SELECT make('a');
SELECT rotate('a') - 'secret' - 'createdAt' - 'rotation' - 'seenAt';
SELECT old <> new, substring(old FROM '^(.*)_.{43}$') = substring(new FROM '^(.*)_.{43}$') FROM secret;
SELECT rotation, activate_by - clock_timestamp() BETWEEN '6 days 23 hours' AND '7 days', old_until, rotatable FROM unleash_tokens.api_tokens;
SELECT t -> 'rotation' ->> 'state', (t -> 'rotation' ->> 'activateBy')::timestamptz - now() BETWEEN '6 days 23 hours' AND '7 days', t - 'rotation' ? 'rotation'
FROM jsonb_path_query(unleash_tokens.get_all_api_tokens(), '$.tokens[*]') AS t;
SELECT old_valid('a');
-- No use of the new one: nothing to finish.
SELECT unleash_tokens.finish_rotation(selector('a'));
-- Its first use: what the worker has not written yet counts already.
SELECT new_valid('a');
SELECT unleash_tokens.cancel_rotation(selector('a'));
SELECT rotate('a');
CALL wait_for_grace('a');
SELECT rotation, old_until - clock_timestamp() BETWEEN '23 hours' AND '1 day' FROM unleash_tokens.api_tokens;
SELECT t -> 'rotation' ->> 'state', (t -> 'rotation' ->> 'oldUntil')::timestamptz - now() BETWEEN '23 hours' AND '1 day'
FROM jsonb_path_query(unleash_tokens.get_all_api_tokens(), '$.tokens[*]') AS t;
SELECT old_valid('a'), new_valid('a');
-- Both name the token; a rotation more is refused, and so is to cancel this one.
SELECT rotate('a');
SELECT unleash_tokens.cancel_rotation(new) FROM secret;
SELECT unleash_tokens.update_api_token(old, '{"expiresAt": null}') ->> 'tokenName', unleash_tokens.update_api_token(new, '{"expiresAt": null}') ->> 'tokenName' FROM secret;
-- Finished: the old one is gone.
SELECT unleash_tokens.finish_rotation(new) ->> 'tokenName' FROM secret;
SELECT old_valid('a'), new_valid('a');
SELECT unleash_tokens.finish_rotation(selector('a'));
SELECT unleash_tokens.cancel_rotation(selector('a'));
SELECT unleash_tokens.update_api_token(old, '{"expiresAt": null}') FROM secret;
SELECT type, token_name, by_me, by_itself, data -> 'rotation' ->> 'state', before FROM happened;
SELECT data - 'rotation' FROM happened WHERE type = 'api-token-rotation-activated';
-- Nothing that is kept holds a secret.
SELECT count(*) FROM secret, unleash_tokens.api_token_event AS e WHERE position(right(new, 43) IN e::text) > 0 OR position(encode(sha256(new::bytea), 'hex') IN e::text) > 0;
DELETE FROM unleash_tokens.api_token_event;

--
-- Again and again: a secret that was not used makes place for the next.
--
SELECT make('b');
SELECT rotate('b') IS NOT NULL;
CREATE TABLE replaced AS SELECT new FROM secret WHERE token = 'b';
SELECT rotate('b') IS NOT NULL;
SELECT unleash_tokens.validate_api_token(new) FROM replaced;
SELECT old_valid('b');
-- Cancelled: the old one stays.
SELECT unleash_tokens.cancel_rotation(selector('b')) ->> 'tokenName';
SELECT old_valid('b'), new_valid('b');
SELECT rotation, activate_by, old_until FROM unleash_tokens.api_tokens WHERE token_name = 'b';
SELECT unleash_tokens.cancel_rotation(selector('b'));
SELECT unleash_tokens.finish_rotation(selector('b'));
-- Not used in time: the old one stays too, and what is left over is no rotation.
SELECT rotate('b', activate_by => '1 hour') IS NOT NULL;
UPDATE unleash_tokens.api_token SET activate_by = clock_timestamp() WHERE token_name = 'b';
SELECT old_valid('b'), new_valid('b');
SELECT rotation FROM unleash_tokens.api_tokens WHERE token_name = 'b';
SELECT unleash_tokens.get_api_tokens_by_name('b') #> '{tokens,0,rotation}';
SELECT unleash_tokens.finish_rotation(selector('b'));
SELECT unleash_tokens.cancel_rotation(selector('b')) ->> 'tokenName';
-- Used in time, written late: that counts.
SELECT rotate('b') IS NOT NULL;
BEGIN;
SELECT FROM unleash_tokens.api_token WHERE token_name = 'b' FOR UPDATE;
SELECT new_valid('b');
UPDATE unleash_tokens.api_token SET activate_by = clock_timestamp() WHERE token_name = 'b';
COMMIT;
SELECT new_valid('b'), old_valid('b');
CALL wait_for_grace('b');
-- Over: the new one alone counts, by whatever is written; the next rotation begins with it.
UPDATE unleash_tokens.api_token SET old_until = clock_timestamp() WHERE token_name = 'b';
SELECT old_valid('b'), new_valid('b');
SELECT rotation FROM unleash_tokens.api_tokens WHERE token_name = 'b';
UPDATE secret SET old = new WHERE token = 'b';
SELECT rotate('b') IS NOT NULL;
SELECT old_valid('b'), new_valid('b');
CALL wait_for_grace('b');
SELECT unleash_tokens.finish_rotation(selector('b')) ->> 'tokenName';
SELECT old_valid('b'), new_valid('b');
-- With no grace the first use ends the old one.
UPDATE secret SET old = new WHERE token = 'b';
SELECT rotate('b', '0') IS NOT NULL;
SELECT new_valid('b');
CALL wait_for_grace('b');
SELECT old_valid('b'), new_valid('b');
SELECT unleash_tokens.finish_rotation(selector('b')) ->> 'tokenName';
SELECT type, by_me, by_itself, data -> 'rotation' ->> 'state', before FROM happened;

--
-- Imported tokens: found by their digest or by a selector that is not ours.
--
INSERT INTO secret (token, old) VALUES ('v1', 'default:development.' || repeat('0123456789abcdef', 4)), ('v2', '*:development.v2_AAAAAAAAAAAAAAAAAAAA-_' || '_' || repeat('k', 43));
SELECT unleash_tokens.import_api_tokens(jsonb_agg(jsonb_build_object('tokenName', token, 'type', 'client', 'environment', 'development', 'projects', array['*'], 'secret', old))) -> 'imported'
FROM secret WHERE token LIKE 'v_';
SELECT rotate(token) IS NOT NULL FROM secret WHERE token LIKE 'v_' ORDER BY id;
SELECT token, new LIKE '*:development.v2_' || selector(token) || '_%', old_valid(token), new_valid(token) FROM secret WHERE token LIKE 'v_' ORDER BY id;
CALL wait_for_grace('v1');
CALL wait_for_grace('v2');
SELECT token, old_valid(token), new_valid(token) FROM secret WHERE token LIKE 'v_' ORDER BY id;
SELECT selector, token_name FROM unleash_tokens.validate_api_tokens((SELECT array_agg(s) FROM secret, unnest(ARRAY[old, new]) AS s WHERE token = 'v2'));
SELECT token, unleash_tokens.finish_rotation(old) ->> 'tokenName' FROM secret WHERE token LIKE 'v_' ORDER BY id;
SELECT token, old_valid(token), new_valid(token), by_verifier FROM secret JOIN unleash_tokens.api_token ON token_name = token WHERE token LIKE 'v_' ORDER BY id;

--
-- What is refused, and what names no token.
--
SELECT unleash_tokens.rotate_api_token('nobody'), unleash_tokens.finish_rotation('nobody'), unleash_tokens.cancel_rotation('nobody'),
	unleash_tokens.rotate_api_token(NULL), unleash_tokens.finish_rotation(NULL), unleash_tokens.cancel_rotation(NULL);
CREATE FUNCTION try(grace interval, activate_by interval) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE code text; message text; detail text;
	BEGIN
		PERFORM unleash_tokens.rotate_api_token(selector('a'), grace, activate_by);
		RETURN 'done';
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
		RETURN concat_ws(' | ', code, message, detail);
	END $$;
SELECT try(grace, activate_by) FROM (VALUES ('-1 second', '1 day'), ('1001 years', '1 day'), ('1 mon -32 days', '1 day'), ('2147483647 days', '1 day'), (NULL, '1 day'),
	('1 day', '0'), ('1 day', '-1 day'), ('1 day', '1001 years'), ('1 day', NULL), ('1000 years', '1000 years')) AS v (g, a), LATERAL (SELECT g::interval, a::interval) AS i (grace, activate_by);
SELECT unleash_tokens.update_api_token(selector('a'), '{"expiresAt": "2001-01-01T00:00:00Z"}') IS NOT NULL;
SELECT rotate('a');
-- A rotation changes no expiry.
SELECT make('c', '{"expiresAt": "2100-01-01T00:00:00Z", "rotatable": true}');
SELECT rotate('c') - 'secret' - 'createdAt' - 'rotation';
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "d", "rotatable": "yes"}');
SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "d", "rotatable": null}');
SELECT t ->> 'tokenName', t -> 'rotatable' FROM jsonb_array_elements(unleash_tokens.create_api_tokens('[{"type": "client", "tokenName": "e", "rotatable": true}, {"type": "client", "tokenName": "f"}]')) AS t;
SELECT token_name, rotatable FROM unleash_tokens.api_tokens WHERE token_name IN ('c', 'e', 'f') ORDER BY 1;

--
-- The table keeps the columns together.
--
UPDATE unleash_tokens.api_token SET next_verifier = NULL WHERE token_name = 'c';
UPDATE unleash_tokens.api_token SET next_verifier = '\x01' WHERE token_name = 'c';
UPDATE unleash_tokens.api_token SET activate_by = NULL WHERE token_name = 'c';
UPDATE unleash_tokens.api_token SET old_until = now() WHERE token_name = 'f';
-- A token that is not rotated takes hardly more room than it did.
SELECT pg_column_size(t.*) - pg_column_size((SELECT r FROM (SELECT t.selector, t.verifier, t.token_name, t.type, t.environment, t.all_projects,
	t.by_verifier, t.created_at, t.expires_at, t.seen_at, t.alias, t.created_by) AS r)) <= 8 FROM unleash_tokens.api_token AS t WHERE token_name = 'f';

DROP TABLE secret, replaced;
DROP FUNCTION make, selector, old_valid, new_valid, rotate, try;
DROP PROCEDURE wait_for_grace;
DROP VIEW happened;
DELETE FROM unleash_tokens.api_token;
DELETE FROM unleash_tokens.api_token_event;
