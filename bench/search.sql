-- For bench/search: tokens of all kinds, then each search, with its processor time as the kernel counts it for this process.

SET client_min_messages = warning;
CREATE EXTENSION unleash_tokens;
SET session_replication_role = replica;
INSERT INTO unleash_tokens.project (id) SELECT 'project ' || i FROM generate_series(1, 50) AS i;
-- one in twenty is imported, one in 100,000 of type admin, half of them have a project, one in ten expires
INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, created_at, expires_at, seen_at, created_by)
SELECT CASE WHEN i % 20 = 0 THEN substr(md5(i::text), 1, 22) ELSE 'utokVb' || lpad(to_hex(i), 16, '0') END, sha256(i::text::bytea),
	'service ' || (i::bigint * 7919 % :tokens) || CASE WHEN i % 3 = 0 THEN ' Backend' ELSE '' END, type, CASE WHEN type <> 'admin' THEN 'development' END,
	i % 2 = 0, now() - make_interval(mins => (:tokens - i) / 2), CASE WHEN i % 10 = 0 THEN now() + make_interval(mins => i - :tokens / 5) END,
	CASE WHEN i % 3 = 0 THEN now() - make_interval(mins => i % 100000) END, 'loader'
FROM (SELECT i, CASE WHEN i % 100002 = 2 THEN 'admin' ELSE (ARRAY['client', 'frontend', 'backend', 'backend'])[1 + i % 4] END AS type FROM generate_series(1, :tokens) AS i) AS t;
INSERT INTO unleash_tokens.api_token_project SELECT selector, 'project ' || (1 + row_number() OVER () % 50), 1 FROM unleash_tokens.api_token WHERE NOT all_projects;
RESET session_replication_role;
VACUUM ANALYZE;
SELECT unleash_tokens.create_api_token('{"type": "admin", "tokenName": "first"}') ->> 'secret' AS key \gset
SELECT unleash_tokens.create_api_token('{"type": "admin", "tokenName": "bound", "projects": ["project 1", "project 2"]}') ->> 'secret' AS bound \gset

CREATE FUNCTION pg_temp.processor() RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::bigint $$;
CREATE FUNCTION pg_temp.ask(key text, search text, OUT ms numeric, OUT count integer) LANGUAGE plpgsql AS $$
DECLARE
	answer json;
	begun bigint;
BEGIN
	FOR i IN 0..40 LOOP
		IF i = 1 THEN
			begun := pg_temp.processor();	-- the first one plans
		END IF;
		PERFORM set_config('request.headers', json_build_object('x-original-method', 'GET', 'x-original-uri', '/api/admin/tokens' || search, 'authorization', key)::text, true);
		answer := convert_from(unleash_tokens.rest_api()::bytea, 'UTF8')::json;
	END LOOP;
	ms := round((pg_temp.processor() - begun) / 40e6, 2);
	count := json_array_length(answer -> 'tokens');
END $$;

SELECT a.ms, a.count, s.search FROM unnest(ARRAY['', '?limit=200', '?sort=created', '?name=service%201', '?name=SERVICE%20123456', '?name=nothing', '?sort=-name', '?selector=utokVb', '?selector=utokVb0000000000000001',
	'?type=admin', '?type=client', '?type=admin&name=service', '?project=project%201', '?project=none', '?state=valid', '?state=expired', '?state=expiring', '?state=pending', '?state=grace', '?state=unused',
	'?state=unused&days=3000', '?environment=production', '?project=project%201&type=admin', '?type=admin&sort=-created', '?sort=name&project=project%207']) AS s (search), LATERAL pg_temp.ask(:'key', s.search) AS a;
SELECT a.ms, a.count, s.search || ' of two projects' FROM unnest(ARRAY['', '?sort=created', '?project=project%202', '?type=client']) AS s (search), LATERAL pg_temp.ask(:'bound', s.search) AS a;

-- each check of doctor() that takes long enough to be measured, and all of them
CREATE FUNCTION pg_temp.run(statement text, OUT ms numeric, OUT count integer) LANGUAGE plpgsql SET jit = off AS $$
DECLARE
	begun bigint := pg_temp.processor();
BEGIN
	count := 5;
	FOR i IN 1..count LOOP
		EXECUTE statement;
	END LOOP;
	ms := round((pg_temp.processor() - begun) / 1e6 / count, 1);
END $$;
SELECT a.ms, a.count, p.proname FROM pg_proc AS p, LATERAL pg_temp.run(format('SELECT unleash_tokens.%I()', p.proname)) AS a
WHERE p.pronamespace = 'unleash_tokens'::regnamespace AND p.prorettype = 'unleash_tokens.finding'::regtype AND p.pronargs = 0 AND a.ms >= 2 ORDER BY a.ms DESC;
SELECT a.ms, a.count, 'doctor' FROM pg_temp.run('SELECT * FROM unleash_tokens.doctor()') AS a;
