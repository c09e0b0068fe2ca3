--
-- What bench/sql measures with inside one statement, in a database of its own.
-- Loaded after bench/baseline.sql.
--
SET client_min_messages = warning;
CREATE SCHEMA bench;

-- The secret of token i, of the kind that Unleash made: its text is free.
CREATE FUNCTION bench.secret(i bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '*:development.v2_benchbenchbe' || (1000000000 + i) || '_kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk';

-- Tokens first to last of all projects, names of 20 characters; foreign keys are not asked.
CREATE PROCEDURE bench.load(first bigint, last bigint) LANGUAGE sql
BEGIN ATOMIC
	INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, created_at, created_by)
	SELECT 'benchbenchbe' || (1000000000 + i), sha256(convert_to(bench.secret(i), 'UTF8')), 'bench-token-' || lpad(i::text, 8, '0'),
		'client', 'development', true, timestamptz '2026-01-01Z' + i * interval '1 ms', 'bench'
	FROM generate_series(first, last) AS i;
END;

-- Microseconds that a query takes for each of n.
CREATE FUNCTION bench.time(query text, n bigint, secrets text[] DEFAULT NULL) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
	start timestamptz := clock_timestamp();
BEGIN
	EXECUTE query USING secrets;
	RETURN extract(epoch FROM clock_timestamp() - start) * 1e6 / n;
END
$$;

-- Two ways in turns, each round the other way round: the medians of their microseconds, and of the ratios of the rounds.
CREATE FUNCTION bench.compare(ours text, theirs text, n bigint, rounds int, secrets text[] DEFAULT NULL,
	OUT our_us float8, OUT their_us float8, OUT ratio float8) LANGUAGE plpgsql AS $$
DECLARE
	a float8[];
	b float8[];
	x float8;
	y float8;
BEGIN
	-- the first one plans, and reads what is not in memory
	PERFORM bench.time(ours, n, secrets), bench.time(theirs, n, secrets);
	FOR i IN 1 .. rounds LOOP
		IF i % 2 = 1 THEN
			x := bench.time(ours, n, secrets);
			y := bench.time(theirs, n, secrets);
		ELSE
			y := bench.time(theirs, n, secrets);
			x := bench.time(ours, n, secrets);
		END IF;
		a := a || x;
		b := b || y;
	END LOOP;
	SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY u.a), percentile_cont(0.5) WITHIN GROUP (ORDER BY u.b),
		percentile_cont(0.5) WITHIN GROUP (ORDER BY u.b / u.a)
	INTO our_us, their_us, ratio FROM unnest(a, b) AS u (a, b);
END
$$;

-- Pages that a query looked at, wherever they were found.
CREATE FUNCTION bench.buffers(query text, secrets text[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || query INTO plan USING secrets;
	RETURN (plan #>> '{0,Plan,Shared Hit Blocks}')::bigint + (plan #>> '{0,Plan,Shared Read Blocks}')::bigint;
END
$$;

-- Secrets of our own shape: of tokens that are gone again, and the same mistyped.
CREATE TABLE bench.refused (kind text, secrets text[]);
CREATE FUNCTION bench.make_refused(n int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	made text[];
BEGIN
	BEGIN
		SELECT array_agg(unleash_tokens.create_api_token('{"type": "client", "tokenName": "gone"}') ->> 'secret')
		INTO made FROM generate_series(1, n);
		RAISE EXCEPTION USING ERRCODE = 'UT000', MESSAGE = array_to_string(made, ',');
	EXCEPTION WHEN SQLSTATE 'UT000' THEN
		made := string_to_array(SQLERRM, ',');
	END;
	INSERT INTO bench.refused VALUES ('unknown', made);
	INSERT INTO bench.refused SELECT 'mistyped', array_agg(overlay(s PLACING CASE substr(s, 60, 1) WHEN 'x' THEN 'y' ELSE 'x' END FROM 60))
	FROM unnest(made) AS s;
END
$$;
