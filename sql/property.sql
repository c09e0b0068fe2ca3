-- No sequence of changes to projects and environments ever widens a token.
-- Random steps from a fixed seed run against a model in which a project and an
-- environment keep their identity when they are renamed and lose it when they
-- are removed, even if one of the same name comes later.
CREATE SCHEMA model;
CREATE TABLE model.project (uid serial PRIMARY KEY, id text UNIQUE);
CREATE TABLE model.environment (uid serial PRIMARY KEY, name text UNIQUE);
CREATE TABLE model.token (selector text PRIMARY KEY, secret text,
	projects int[], environment int, step int);
INSERT INTO model.project (id) SELECT id FROM unleash_tokens.project;
INSERT INTO model.environment (name) SELECT name FROM unleash_tokens.environment;

CREATE FUNCTION model.some(relation text, col text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	found text;
BEGIN
	EXECUTE format('SELECT %I FROM model.%I ORDER BY uid OFFSET floor(random() * (SELECT count(*) FROM model.%I)) LIMIT 1',
				   col, relation, relation) INTO found;
	RETURN found;
END $$;

-- What the model says a token may reach at most, as ids of now.
CREATE FUNCTION model.allowed(uids int[]) RETURNS text[]
LANGUAGE sql AS $$
	SELECT coalesce(array_agg(id ORDER BY id), '{}') FROM model.project WHERE uid = ANY (uids)
$$;

-- Tokens that reach more than the model allows, or other than their environment,
-- or that are refused although a project is left.
CREATE FUNCTION model.violations() RETURNS bigint
LANGUAGE sql AS $$
	SELECT count(*)
	FROM model.token AS m
	LEFT JOIN unleash_tokens.validate_api_tokens((SELECT array_agg(secret ORDER BY selector) FROM model.token)) AS v
		ON v.selector = m.selector
	WHERE v.selector IS NULL AND model.allowed(m.projects) <> '{}'
	   OR NOT (v.projects <@ model.allowed(m.projects))
	   OR v.environment <> (SELECT name FROM model.environment AS e WHERE e.uid = m.environment)
$$;

CREATE FUNCTION model.step(n int) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	dice int := floor(random() * 12);
	fresh text := 'p' || floor(random() * 12);
	victim text := model.some('project', 'id');
	place text := model.some('environment', 'name');
	made jsonb;
	ids text[];
BEGIN
	CASE
		WHEN dice < 2 THEN
			INSERT INTO unleash_tokens.project (id) VALUES (fresh);
			INSERT INTO model.project (id) VALUES (fresh);
			RETURN 'project added';
		WHEN dice = 2 THEN
			UPDATE unleash_tokens.project SET id = fresh WHERE id = victim;
			UPDATE model.project SET id = fresh WHERE id = victim;
			RETURN 'project renamed';
		WHEN dice = 3 THEN
			DELETE FROM unleash_tokens.project WHERE id = victim;
			DELETE FROM model.project WHERE id = victim;
			RETURN 'project removed';
		WHEN dice = 4 THEN
			INSERT INTO unleash_tokens.environment (name) VALUES (fresh);
			INSERT INTO model.environment (name) VALUES (fresh);
			RETURN 'environment added';
		WHEN dice = 5 THEN
			UPDATE unleash_tokens.environment SET name = fresh WHERE name = place;
			UPDATE model.environment SET name = fresh WHERE name = place;
			RETURN 'environment renamed';
		WHEN dice = 6 THEN
			DELETE FROM unleash_tokens.environment WHERE name = place;
			DELETE FROM model.environment WHERE name = place;
			RETURN 'environment removed';
		WHEN dice = 7 THEN
			-- two keys change places in one statement
			UPDATE unleash_tokens.project AS p SET id = 'swap-' || p.id WHERE p.id = victim;
			UPDATE model.project SET id = 'swap-' || id WHERE id = victim;
			RETURN 'project renamed';
		WHEN dice = 8 AND n % 17 = 0 THEN
			TRUNCATE unleash_tokens.project, unleash_tokens.api_token_project, unleash_tokens.guard_role;
			DELETE FROM model.project;
			RETURN 'projects truncated';
		ELSE
			SELECT array_agg(id) INTO ids FROM (SELECT id FROM model.project ORDER BY random() LIMIT 1 + floor(random() * 3)) AS s;
			made := unleash_tokens.create_api_token(jsonb_build_object(
				'type', 'client', 'tokenName', 'n' || n, 'environment', place, 'projects', ids));
			INSERT INTO model.token SELECT split_part(split_part(made ->> 'secret', '.v2_', 2), '_', 1), made ->> 'secret',
				(SELECT array_agg(uid) FROM model.project WHERE id = ANY (ids)),
				(SELECT uid FROM model.environment WHERE name = place), n;
			RETURN 'token made';
	END CASE;
EXCEPTION
	-- both sides are rolled back: a name that is taken, an environment in use, nothing left to choose
	WHEN unique_violation OR foreign_key_violation OR invalid_parameter_value
		OR not_null_violation OR check_violation THEN
		RETURN 'refused';
END $$;

SELECT setseed(0.20261123);
DO $$
DECLARE
	done text;
	seen jsonb := '{}';
	bad bigint := 0;
BEGIN
	FOR n IN 1..3000 LOOP
		done := model.step(n);
		seen := jsonb_set(seen, ARRAY[done], to_jsonb(coalesce((seen ->> done)::int, 0) + 1));
		IF n % 5 = 0 THEN
			bad := bad + model.violations();
		END IF;
		-- keep the crowd small: old tokens go, as a user would let them go
		IF n % 50 = 0 THEN
			PERFORM unleash_tokens.delete_api_token(selector) FROM model.token WHERE step < n - 200;
			DELETE FROM model.token WHERE step < n - 200;
		END IF;
	END LOOP;
	RAISE NOTICE 'kinds of steps that happened: %', (SELECT string_agg(k, ', ' ORDER BY k) FROM jsonb_object_keys(seen) AS k);
	RAISE NOTICE 'tokens that reached more or less than they should: %', bad;
END $$;

-- Nothing is left behind either: no token without a project, no link without a token.
SELECT count(*) AS scopeless FROM unleash_tokens.api_tokens WHERE projects = '{}';
SET client_min_messages = warning;
DROP SCHEMA model CASCADE;
