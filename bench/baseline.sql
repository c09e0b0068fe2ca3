--
-- The plain way: create and validate in PL/pgSQL and SQL with pgcrypto, the
-- rival in the benchmarks.  It keeps every rule of the extension, works on the
-- extension's own tables, and is tested by the extension's own regression
-- tests (t/baseline/run).  What it cannot do:
--
-- - A function in PL/pgSQL has no latest snapshot.  Validation sees what its
--   transaction sees: in REPEATABLE READ a deleted token goes on working.
--   For the same reason create refuses to count under max_tokens in any
--   isolation level but READ COMMITTED, rather than let too many pass.
-- - The use of a token is not noted: seen_at stays as it is.
-- - Digests are compared by the operator =, not in constant time.
--
-- For databases in UTF-8 that have the extension and the library loaded (the
-- setting max_tokens is the extension's).  Load it with
--
--     psql -v ON_ERROR_STOP=1 -f bench/baseline.sql DATABASE
--
BEGIN;
SET LOCAL client_min_messages = warning;

CREATE SCHEMA baseline;
GRANT USAGE ON SCHEMA baseline TO PUBLIC;

DO $$
BEGIN
	IF getdatabaseencoding() <> 'UTF8' THEN
		RAISE EXCEPTION 'the plain way is written for databases in UTF-8';
	END IF;
END
$$;

-- ===========================================================================
-- The parts of a secret
-- ===========================================================================

-- pgcrypto may be installed in any schema.  A function that is one expression,
-- as this one and others below, is put in place of its call and costs nothing.
SELECT quote_ident(n.nspname) AS pgcrypto
FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
WHERE e.extname = 'pgcrypto' \gset
CREATE FUNCTION baseline.random_bytes(size int) RETURNS bytea
LANGUAGE sql VOLATILE
RETURN :pgcrypto.gen_random_bytes(size);

-- Random characters of base62, at least 48 but for once in 10^17.  Without its
-- + and / what is left of base64 is base62, each character as likely as any.
CREATE FUNCTION baseline.random_text() RETURNS text
LANGUAGE sql VOLATILE
RETURN translate(encode(baseline.random_bytes(54), 'base64'), '+/', '');

-- The lowest digit of a number in base62, as a byte.
CREATE FUNCTION baseline.digit(value bigint) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN substring('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'::bytea, (value % 62)::int + 1, 1);

-- The seven digits of milliseconds since 1970 that a selector begins with.
CREATE FUNCTION baseline.show_ms(ms bigint) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN baseline.digit(ms / 56800235584) || baseline.digit(ms / 916132832) || baseline.digit(ms / 14776336)
	|| baseline.digit(ms / 238328) || baseline.digit(ms / 3844) || baseline.digit(ms / 62) || baseline.digit(ms);

-- CRC-32/ISO-HDLC.  PostgreSQL 18 has a function for it; before that eight
-- bytes are taken at once, with a table for each place (slicing by 8).  The
-- tables are written into the source, since a constant costs nothing to read.
DO $do$
DECLARE
	tables int[] := '{}';
	crc bigint;
	step text := '';
BEGIN
	IF to_regprocedure('pg_catalog.crc32(bytea)') IS NOT NULL THEN
		EXECUTE 'CREATE FUNCTION baseline.crc32(bytes bytea) RETURNS bigint
			LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN pg_catalog.crc32(bytes)';
		RETURN;
	END IF;
	FOR place IN 0..7 LOOP
		FOR value IN 0..255 LOOP
			IF place = 0 THEN
				crc := value;
				FOR bit IN 1..8 LOOP
					crc := (crc >> 1) # CASE crc & 1 WHEN 1 THEN 3988292384 ELSE 0 END;
				END LOOP;
			ELSE
				crc := tables[(place - 1) * 256 + value + 1]::bigint & 4294967295;
				crc := (crc >> 8) # (tables[(crc & 255)::int + 1]::bigint & 4294967295);
			END IF;
			tables := tables || (CASE WHEN crc > 2147483647 THEN crc - 4294967296 ELSE crc END)::int;
		END LOOP;
	END LOOP;
	FOR i IN 0..7 LOOP
		step := step || CASE i WHEN 0 THEN '' ELSE ' # ' END
			|| format('(%L::int[])[%s + 1]', tables[(7 - i) * 256 + 1 : (7 - i) * 256 + 256],
					  CASE WHEN i < 4 THEN format('(((crc >> %s) # get_byte(bytes, at + %s)) & 255)', i * 8, i)
						   ELSE format('get_byte(bytes, at + %s)', i) END);
	END LOOP;
	EXECUTE format($create$
		CREATE FUNCTION baseline.crc32(bytes bytea) RETURNS bigint
		LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
		DECLARE
			crc int := -1;
			size int := length(bytes);
		BEGIN
			FOR at IN 0..size - 8 BY 8 LOOP
				crc := %s;
			END LOOP;
			FOR at IN size - size %% 8..size - 1 LOOP
				crc := (%L::int[])[((crc # get_byte(bytes, at)) & 255) + 1] # ((crc >> 8) & 16777215);
			END LOOP;
			RETURN (crc # -1)::bigint & 4294967295;
		END
		$$
		$create$, step, tables[1:256]);
END
$do$;

-- The six digits that close a secret; one spelling for each checksum.
CREATE FUNCTION baseline.checksum(bytes bytea) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
	crc bigint := baseline.crc32(bytes);
BEGIN
	RETURN baseline.digit(crc / 916132832) || baseline.digit(crc / 14776336) || baseline.digit(crc / 238328)
		|| baseline.digit(crc / 3844) || baseline.digit(crc / 62) || baseline.digit(crc);
END
$$;

-- What kind of secret a text is, as the extension parses it: 'own' (made here,
-- with a right checksum), 'v2' (a selector of Unleash's), 'v1' (found by its
-- digest) or 'refused'.  validate_api_token() has the same written out.
CREATE FUNCTION baseline.secret_kind(secret text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
	tail text := right(secret, 70);
	bytes bytea;
BEGIN
	IF secret = '' OR octet_length(secret) > 4096 THEN
		RETURN 'refused';
	ELSIF NOT (length(tail) = 70 AND tail ~ '^\.v2_[0-9A-Za-z_-]+$' AND substr(tail, 27, 1) = '_') THEN
		RETURN 'v1';
	ELSIF substr(tail, 5, 4) <> 'utok' THEN
		RETURN 'v2';
	END IF;
	bytes := convert_to(secret, 'UTF8');
	RETURN CASE WHEN tail ~ '^\.v2_[0-9A-Za-z]+_[0-9A-Za-z]+$'
		AND baseline.checksum(substring(bytes, 1, length(bytes) - 6)) = substring(bytes, length(bytes) - 5) THEN 'own' ELSE 'refused' END;
END
$$;

-- A time as it is shown.  PostgreSQL counts no year 0.
CREATE FUNCTION baseline.show_time(at timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE WHEN at >= '0001-01-01 00:00:00+00' THEN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
	ELSE '0000' || to_char(at AT TIME ZONE 'UTC', '-MM-DD"T"HH24:MI:SS.MS"Z"') END;

-- ===========================================================================
-- Refusals
-- ===========================================================================

-- What stands before anything that could be the key of a secret: a run of 32
-- characters such as secrets are made of behind a dot, or of 40 with two kinds
-- of digits, capitals and small letters.
CREATE FUNCTION baseline.public_part(sent text) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	shown text := '';
	part text[];
BEGIN
	FOR part IN SELECT regexp_matches(sent, '([^0-9A-Za-z_-]*)([0-9A-Za-z_-]*)', 'g') LOOP
		shown := shown || part[1];
		IF length(part[2]) >= 32 AND right(shown, 1) = '.' OR length(part[2]) >= 40
			AND (part[2] ~ '[0-9]')::int + (part[2] ~ '[A-Z]')::int + (part[2] ~ '[a-z]')::int >= 2 THEN
			RETURN shown;
		END IF;
		shown := shown || part[2];
	END LOOP;
	RETURN shown;
END
$$;

-- A text as a refusal shows it again: no secret, cut at 60 bytes.
CREATE FUNCTION baseline.show(sent text) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
	kind text := baseline.secret_kind(sent);
	has_selector boolean := kind IN ('own', 'v2');
	scope text := CASE WHEN has_selector THEN left(sent, -66) ELSE sent END;
	shown text := baseline.public_part(scope);
	bytes int;
BEGIN
	IF kind = 'refused' AND sent <> '' AND octet_length(sent) <= 4096 THEN
		RETURN 'a mistyped secret';
	ELSIF shown <> scope THEN
		shown := shown || '***';
	ELSIF has_selector THEN
		shown := left(sent, -44) || '***';
	END IF;
	bytes := octet_length(shown);
	IF bytes <= 60 THEN
		RETURN to_json(shown);
	END IF;
	shown := left(shown, 60);
	WHILE octet_length(shown) > 60 LOOP
		shown := left(shown, -1);
	END LOOP;
	RETURN to_json(shown) || format(' (cut, %s bytes in all)', bytes);
END
$$;

CREATE FUNCTION baseline.show(sent jsonb) RETURNS text
LANGUAGE sql STABLE
RETURN CASE jsonb_typeof(sent)
	WHEN 'string' THEN baseline.show(sent #>> '{}')
	WHEN 'array' THEN 'an array'
	WHEN 'object' THEN 'an object'
	ELSE CASE WHEN length(sent::text) > 60 THEN 'a long number' ELSE sent::text END END;

-- The words of every refusal; also in unleash_tokens.list_refusals().
CREATE FUNCTION baseline.refuse(name text, detail text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
	state text := CASE name WHEN 'limit' THEN 'P0001' ELSE '22023' END;
	words text[];
BEGIN
	words := CASE name
		WHEN 'object' THEN ARRAY['the request body must be a JSON object',
			'Send an object such as {"type": "client", "tokenName": "my-app"}.']
		WHEN 'required' THEN ARRAY['a required field is missing',
			'Add the field to the request body.']
		WHEN 'json type' THEN ARRAY['a field has the wrong JSON type',
			'Values are never converted: send the type that is asked for.']
		WHEN 'type' THEN ARRAY['unknown token type',
			'Use client, backend, frontend or admin, in any case.']
		WHEN 'name length' THEN ARRAY['the token name has a length that is not allowed',
			'Use 1 to 1000 characters.']
		WHEN 'name control' THEN ARRAY['the token name holds a control character',
			'Leave out the characters U+0000 to U+001F and U+007F to U+009F.']
		WHEN 'environment empty' THEN ARRAY['the environment must not be empty',
			'Name an environment, or leave the field out for development.']
		WHEN 'projects length' THEN ARRAY['the list of projects has a length that is not allowed',
			'Name 1 to 1000 projects, or leave the field out for all projects.']
		WHEN 'project twice' THEN ARRAY['project and projects exclude each other',
			'Send project for one project or projects for several.']
		WHEN 'expiry' THEN ARRAY['a time is not a date-time that can be read',
			'Use RFC 3339 such as 2031-05-06T07:08:09Z in the years 0000 to 9999, or null for none.']
		WHEN 'admin scope' THEN ARRAY['an admin token reaches all environments',
			'Leave environment out, or set it to *.']
		WHEN 'environment all' THEN ARRAY['only an admin token can reach all environments',
			'Name one environment.']
		WHEN 'environment unknown' THEN ARRAY['the environment does not exist',
			'Name an environment of the table unleash_tokens.environment; case and blanks count.']
		WHEN 'limit' THEN ARRAY['there are as many tokens as allowed',
			'Delete tokens, or have the setting unleash_tokens.max_tokens raised.']
		WHEN 'project unknown' THEN ARRAY['a project does not exist',
			'Name projects of the table unleash_tokens.project; case and blanks count.']
		END;
	RAISE EXCEPTION USING ERRCODE = state, MESSAGE = words[1], DETAIL = detail, HINT = words[2];
END
$$;

-- ===========================================================================
-- Create
-- ===========================================================================

-- An RFC 3339 date-time, cut to milliseconds; NULL for any other text.
CREATE FUNCTION baseline.read_time(sent text) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
	part text[] := regexp_match(sent, '^([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt ]'
		'([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]+))?(?:[Zz]|([+-])([01][0-9]|2[0-3]):?([0-5][0-9]))?$');
	year int := part[1];
	month int := part[2];
	day int := part[3];
	at timestamptz;
BEGIN
	IF part IS NULL OR day > (CASE WHEN month IN (4, 6, 9, 11) THEN 30 WHEN month <> 2 THEN 31
			WHEN year % 4 = 0 AND (year % 100 <> 0 OR year % 400 = 0) THEN 29 ELSE 28 END) THEN
		RETURN NULL;
	END IF;
	-- the year before 1 is -1 here
	at := make_timestamptz(CASE year WHEN 0 THEN -1 ELSE year END, month, day, part[4]::int, part[5]::int,
		part[6]::int + rpad(left(coalesce(part[7], '0'), 3), 3, '0')::float8 / 1000, 'UTC');
	IF part[8] IS NOT NULL THEN
		at := at - (part[8] || part[9] || ':' || part[10])::interval;
	END IF;
	IF at BETWEEN '0001-01-01 00:00:00+00 BC' AND '9999-12-31 23:59:59.999+00' THEN
		RETURN at;
	END IF;
	RETURN NULL;
END
$$;

-- Nothing is ever stored here: its lock stands for the number of tokens.
CREATE TABLE baseline.token_limit ();

-- What the tables say against a request, in the documented order.  Called
-- where there is a limit, and to say why nothing could be inserted.
CREATE FUNCTION baseline.check_tables(environment text, projects text[], most int) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
	unknown text;
BEGIN
	PERFORM FROM unleash_tokens.environment AS e WHERE e.name = check_tables.environment FOR KEY SHARE;
	IF NOT FOUND AND environment IS NOT NULL THEN
		PERFORM baseline.refuse('environment unknown', format('There is no environment %s.', baseline.show(environment)));
	END IF;
	IF most > 0 THEN
		IF current_setting('transaction_isolation') <> 'read committed' THEN
			RAISE EXCEPTION 'the plain way counts tokens in READ COMMITTED only' USING ERRCODE = 'feature_not_supported';
		END IF;
		LOCK TABLE baseline.token_limit IN EXCLUSIVE MODE;
		IF (SELECT count(*) FROM (SELECT FROM unleash_tokens.api_token LIMIT most) AS t) >= most THEN
			PERFORM baseline.refuse('limit', format('At most %s tokens are allowed.', most));
		END IF;
	END IF;
	IF projects IS NOT NULL THEN
		PERFORM FROM unleash_tokens.project AS p WHERE p.id = ANY (projects) ORDER BY p.id FOR KEY SHARE;
		SELECT u.id INTO unknown FROM unnest(projects) WITH ORDINALITY AS u (id, ord)
		WHERE NOT EXISTS (SELECT FROM unleash_tokens.project AS p WHERE p.id = u.id) ORDER BY u.ord LIMIT 1;
		IF FOUND THEN
			PERFORM baseline.refuse('project unknown', format('There is no project %s.', baseline.show(unknown)));
		END IF;
	END IF;
END
$$;

-- Row "create, PL/pgSQL" of the benchmarks: the same as
-- unleash_tokens.create_api_token().
CREATE FUNCTION baseline.create_api_token(body jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	sent jsonb;
	token_type text;
	token_name text;
	environment text;
	projects text[];			-- NULL for all
	project text;
	expiry timestamptz;
	most int;
	actor text := CASE current_setting('role') WHEN 'none' THEN session_user::text ELSE current_setting('role') END;
	made_at timestamptz;
	ms bigint;
	random text;
	selector text;
	bytes bytea;
	secret text;
	data jsonb;
BEGIN
	IF jsonb_typeof(body) IS DISTINCT FROM 'object' THEN
		PERFORM baseline.refuse('object', format('You sent %s.', CASE WHEN body IS NULL THEN 'nothing'
			WHEN jsonb_typeof(body) = 'array' THEN 'an array' ELSE 'a single value' END));
	END IF;

	-- shape
	sent := body -> 'type';
	IF sent IS NULL THEN
		PERFORM baseline.refuse('required', 'The field type is required and was not sent.');
	ELSIF jsonb_typeof(sent) <> 'string' THEN
		PERFORM baseline.refuse('json type', format('The field type must be a string. You sent %s.', baseline.show(sent)));
	END IF;
	token_type := lower((sent #>> '{}') COLLATE "C");
	IF token_type NOT IN ('client', 'backend', 'frontend', 'admin') THEN
		PERFORM baseline.refuse('type', format('The field type must be one of client, backend, frontend and admin. You sent %s.',
			baseline.show(sent)));
	END IF;

	sent := body -> 'tokenName';
	IF sent IS NULL THEN
		PERFORM baseline.refuse('required', 'The field tokenName is required and was not sent.');
	ELSIF jsonb_typeof(sent) <> 'string' THEN
		PERFORM baseline.refuse('json type', format('The field tokenName must be a string. You sent %s.', baseline.show(sent)));
	END IF;
	token_name := sent #>> '{}';
	IF token_name = '' THEN
		PERFORM baseline.refuse('name length', 'The field tokenName must not be empty.');
	ELSIF length(token_name) > 1000 THEN
		PERFORM baseline.refuse('name length', format('The field tokenName has %s characters, which is more than 1000: %s.',
			length(token_name), baseline.show(token_name)));
	ELSIF token_name COLLATE "C" ~ E'[\\u0001-\\u001F\\u007F-\\u009F]' THEN
		PERFORM baseline.refuse('name control', format('The field tokenName holds the control character U+%s.',
			lpad(upper(to_hex(ascii(substring(token_name FROM E'[\\u0001-\\u001F\\u007F-\\u009F]')))), 4, '0')));
	END IF;

	sent := body -> 'environment';
	IF sent IS NOT NULL THEN
		IF jsonb_typeof(sent) <> 'string' THEN
			PERFORM baseline.refuse('json type', format('The field environment must be a string. You sent %s.', baseline.show(sent)));
		END IF;
		environment := sent #>> '{}';
		IF environment = '' THEN
			PERFORM baseline.refuse('environment empty', 'The field environment was sent as an empty string.');
		END IF;
	END IF;

	sent := body -> 'project';
	IF sent IS NOT NULL THEN
		IF body ? 'projects' THEN
			PERFORM baseline.refuse('project twice', 'You sent both project and projects.');
		ELSIF jsonb_typeof(sent) <> 'string' THEN
			PERFORM baseline.refuse('json type', format('The field project must be a string. You sent %s.', baseline.show(sent)));
		END IF;
		project := sent #>> '{}';
		IF project <> '*' THEN
			projects := ARRAY[project];
		END IF;
	ELSE
		sent := body -> 'projects';
		IF sent IS NOT NULL THEN
			IF jsonb_typeof(sent) <> 'array' THEN
				PERFORM baseline.refuse('json type', format('The field projects must be an array of strings. You sent %s.', baseline.show(sent)));
			ELSIF jsonb_array_length(sent) NOT BETWEEN 1 AND 1000 THEN
				PERFORM baseline.refuse('projects length', format('The field projects must have 1 to 1000 elements. You sent %s.',
					jsonb_array_length(sent)));
			END IF;
			projects := '{}';
			FOR i IN 0..jsonb_array_length(sent) - 1 LOOP
				IF jsonb_typeof(sent -> i) <> 'string' THEN
					PERFORM baseline.refuse('json type', format('Each element of projects must be a string. You sent %s.',
						baseline.show(sent -> i)));
				END IF;
				project := sent ->> i;
				IF project <> ALL (projects) THEN
					projects := projects || project;
				END IF;
			END LOOP;
			IF '*' = ANY (projects) THEN
				projects := NULL;
			END IF;
		END IF;
	END IF;

	sent := body -> 'expiresAt';
	IF sent IS NOT NULL AND sent <> 'null' THEN
		IF jsonb_typeof(sent) <> 'string' THEN
			PERFORM baseline.refuse('json type', format('The field expiresAt must be a string or null. You sent %s.', baseline.show(sent)));
		END IF;
		expiry := baseline.read_time(sent #>> '{}');
		IF expiry IS NULL THEN
			PERFORM baseline.refuse('expiry', format('The field expiresAt must be an RFC 3339 date-time. You sent %s.', baseline.show(sent)));
		END IF;
	END IF;

	-- how the fields fit together
	IF token_type = 'admin' THEN
		IF environment <> '*' THEN
			PERFORM baseline.refuse('admin scope', format('You sent the environment %s.', baseline.show(environment)));
		END IF;
		environment := NULL;
	ELSIF environment IS NULL THEN
		environment := 'development';
	ELSIF environment = '*' THEN
		PERFORM baseline.refuse('environment all', format('A token of type %s belongs to one environment; you sent "*".', token_type));
	END IF;

	-- what the tables say; without a limit the INSERT below asks them
	most := current_setting('unleash_tokens.max_tokens', true);
	IF most > 0 THEN
		PERFORM baseline.check_tables(environment, projects, most);
	END IF;

	made_at := date_trunc('milliseconds', clock_timestamp());
	ms := extract(epoch FROM made_at) * 1000;
	project := CASE WHEN projects IS NULL THEN '*' ELSE array_to_string(projects, ',') END;
	data := jsonb_build_object('tokenName', token_name, 'projects', coalesce(projects, '{*}'), 'project', project,
		'environment', coalesce(environment, '*'), 'type', token_type, 'createdAt', baseline.show_time(made_at),
		'expiresAt', baseline.show_time(expiry), 'seenAt', NULL, 'alias', NULL);

	LOOP
		random := baseline.random_text();
		CONTINUE WHEN length(random) < 48;
		bytes := convert_to(CASE WHEN projects IS NULL THEN '*' WHEN cardinality(projects) = 1 THEN project ELSE '[]' END
			|| ':' || coalesce(environment, '*') || '.v2_utok', 'UTF8') || baseline.show_ms(ms)
			|| convert_to(substr(random, 1, 11) || '_' || substr(random, 12, 37), 'UTF8');
		bytes := bytes || baseline.checksum(bytes);
		secret := convert_from(bytes, 'UTF8');
		selector := substr(right(secret, 66), 1, 22);

		-- the rows of a token in one statement, with the locks on what it refers to
		IF environment IS NULL AND projects IS NULL THEN
			WITH t AS (
				INSERT INTO unleash_tokens.api_token
					(selector, verifier, token_name, type, all_projects, created_at, expires_at, created_by)
				VALUES (selector, sha256(bytes), token_name, token_type, true, made_at, expiry, actor)
				ON CONFLICT DO NOTHING RETURNING 1)
			INSERT INTO unleash_tokens.api_token_event (type, selector, token_name, actor, data)
			SELECT 'api-token-created', selector, token_name, actor, data FROM t;
		ELSIF environment IS NULL THEN
			WITH p AS (
				SELECT FROM unleash_tokens.project AS p WHERE p.id = ANY (projects) ORDER BY p.id FOR KEY SHARE),
			t AS (
				INSERT INTO unleash_tokens.api_token
					(selector, verifier, token_name, type, all_projects, created_at, expires_at, created_by)
				SELECT selector, sha256(bytes), token_name, token_type, false, made_at, expiry, actor
				WHERE (SELECT count(*) FROM p) = cardinality(projects)
				ON CONFLICT DO NOTHING RETURNING 1),
			l AS (
				INSERT INTO unleash_tokens.api_token_project (selector, project, ord)
				SELECT selector, u.id, u.ord FROM t, unnest(projects) WITH ORDINALITY AS u (id, ord))
			INSERT INTO unleash_tokens.api_token_event (type, selector, token_name, actor, data)
			SELECT 'api-token-created', selector, token_name, actor, data FROM t;
		ELSIF projects IS NULL THEN
			WITH t AS (
				INSERT INTO unleash_tokens.api_token
					(selector, verifier, token_name, type, environment, all_projects, created_at, expires_at, created_by)
				SELECT selector, sha256(bytes), token_name, token_type, e.name, true, made_at, expiry, actor
				FROM unleash_tokens.environment AS e WHERE e.name = environment FOR KEY SHARE
				ON CONFLICT DO NOTHING RETURNING 1)
			INSERT INTO unleash_tokens.api_token_event (type, selector, token_name, actor, data)
			SELECT 'api-token-created', selector, token_name, actor, data FROM t;
		ELSE
			WITH p AS (
				SELECT FROM unleash_tokens.project AS p WHERE p.id = ANY (projects) ORDER BY p.id FOR KEY SHARE),
			t AS (
				INSERT INTO unleash_tokens.api_token
					(selector, verifier, token_name, type, environment, all_projects, created_at, expires_at, created_by)
				SELECT selector, sha256(bytes), token_name, token_type, e.name, false, made_at, expiry, actor
				FROM unleash_tokens.environment AS e
				WHERE e.name = environment AND (SELECT count(*) FROM p) = cardinality(projects) FOR KEY SHARE OF e
				ON CONFLICT DO NOTHING RETURNING 1),
			l AS (
				INSERT INTO unleash_tokens.api_token_project (selector, project, ord)
				SELECT selector, u.id, u.ord FROM t, unnest(projects) WITH ORDINALITY AS u (id, ord))
			INSERT INTO unleash_tokens.api_token_event (type, selector, token_name, actor, data)
			SELECT 'api-token-created', selector, token_name, actor, data FROM t;
		END IF;
		EXIT WHEN FOUND;
		-- one of those is missing, or else the selector was taken
		PERFORM baseline.check_tables(environment, projects, 0);
	END LOOP;

	IF current_setting('request.path', true) = '/rpc/create_api_token' THEN
		PERFORM set_config('response.status', '201', true), set_config('response.headers',
			format('[{"Location":"../api_tokens?selector=eq.%s"},{"Cache-Control":"no-store"}]', selector), true);
	END IF;
	RETURN data || jsonb_build_object('secret', secret, 'secure', true);
END
$$;

-- ===========================================================================
-- Validate
-- ===========================================================================

-- Row "validate, PL/pgSQL" of the benchmarks: the same as
-- unleash_tokens.validate_api_token().  The projects are read by a statement of
-- their own, which most tokens do not need.
CREATE FUNCTION baseline.validate_api_token(secret text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	tail text := right(secret, 70);
	bytes bytea;
	token record;
	projects text[] := '{*}';
BEGIN
	IF secret = '' OR octet_length(secret) > 4096 THEN
		RETURN NULL;
	END IF;
	bytes := convert_to(secret, 'UTF8');
	IF substr(tail, 27, 1) = '_' AND tail ~ '^\.v2_[0-9A-Za-z_-]+$' AND length(tail) = 70 THEN
		IF substr(tail, 5, 4) = 'utok' AND (tail !~ '^\.v2_[0-9A-Za-z]+_[0-9A-Za-z]+$'
				OR baseline.checksum(substring(bytes, 1, length(bytes) - 6)) <> substring(bytes, length(bytes) - 5)) THEN
			RETURN NULL;
		END IF;
		SELECT t.selector, t.token_name, t.type, t.environment, t.all_projects, t.expires_at INTO token
		FROM unleash_tokens.api_token AS t
		WHERE t.selector = substr(tail, 5, 22) AND t.verifier = sha256(bytes);
	ELSE
		SELECT t.selector, t.token_name, t.type, t.environment, t.all_projects, t.expires_at INTO token
		FROM unleash_tokens.api_token AS t
		WHERE t.by_verifier AND t.verifier = sha256(bytes);
	END IF;
	IF NOT FOUND OR token.expires_at <= clock_timestamp() THEN
		RETURN NULL;
	END IF;
	IF NOT token.all_projects THEN
		projects := ARRAY(SELECT p.project FROM unleash_tokens.api_token_project AS p
			JOIN unleash_tokens.project AS r ON r.id = p.project WHERE p.selector = token.selector ORDER BY p.ord);
		IF projects = '{}' THEN
			RETURN NULL;
		END IF;
	END IF;
	RETURN jsonb_build_object('selector', token.selector, 'tokenName', token.token_name, 'type', token.type,
		'projects', projects, 'environment', coalesce(token.environment, '*'), 'expiresAt', baseline.show_time(token.expires_at));
END
$$;

-- Row "validate many, SQL" of the benchmarks: the same as
-- unleash_tokens.validate_api_tokens().  No checksum: the join refuses what is
-- mistyped.  The projects are those of validate_api_token().
CREATE FUNCTION baseline.validate_api_tokens(
	secrets text[],
	OUT ordinal bigint, OUT selector text, OUT token_name text, OUT type text,
	OUT projects text[], OUT environment text, OUT expires_at timestamptz) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH s AS MATERIALIZED (
		SELECT u.ord, u.secret, CASE WHEN substr(right(u.secret, 70), 27, 1) = '_' AND right(u.secret, 70) ~ '^\.v2_[0-9A-Za-z_-]+$'
			AND length(u.secret) >= 70 THEN substr(right(u.secret, 66), 1, 22) COLLATE "C" END AS selector
		FROM unnest(secrets) WITH ORDINALITY AS u (secret, ord)
		WHERE octet_length(u.secret) BETWEEN 1 AND 4096),
	f AS (
		SELECT s.ord, t.* FROM s JOIN unleash_tokens.api_token AS t ON t.selector = s.selector
		WHERE t.verifier = sha256(convert_to(s.secret, 'UTF8'))
		UNION ALL
		SELECT s.ord, t.* FROM s JOIN unleash_tokens.api_token AS t ON t.verifier = sha256(convert_to(s.secret, 'UTF8')) AND t.by_verifier
		WHERE s.selector IS NULL)
	SELECT f.ord, f.selector::text, f.token_name::text, f.type::text, p.projects, coalesce(f.environment, '*')::text, f.expires_at
	FROM f, LATERAL (SELECT CASE WHEN f.all_projects THEN '{*}' ELSE
		ARRAY(SELECT p.project::text FROM unleash_tokens.api_token_project AS p
			JOIN unleash_tokens.project AS r ON r.id = p.project WHERE p.selector = f.selector ORDER BY p.ord) END OFFSET 0) AS p (projects)
	WHERE (f.expires_at IS NULL OR f.expires_at > clock_timestamp()) AND p.projects <> '{}';
END
$$;

-- ===========================================================================
-- Many at once, and the floors
-- ===========================================================================

-- New secrets of all projects of an environment, with what is stored of them.
-- OFFSET keeps the planner from asking for random bytes more than once a row.
CREATE FUNCTION baseline.make_secrets(n int, environment text DEFAULT 'development',
	OUT selector text, OUT verifier bytea, OUT secret text) RETURNS SETOF record
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	SELECT substr(convert_from(b.bytes, 'UTF8'), length(environment) + 7, 22), sha256(b.bytes), convert_from(b.bytes, 'UTF8')
	FROM (SELECT a.bytes || baseline.checksum(a.bytes) AS bytes
		  FROM (SELECT convert_to('*:' || environment || '.v2_utok', 'UTF8') || baseline.show_ms((extract(epoch FROM clock_timestamp()) * 1000)::bigint)
					|| convert_to(substr(r.random, 1, 11) || '_' || substr(r.random, 12, 37), 'UTF8') AS bytes
				FROM (SELECT baseline.random_text() AS random FROM generate_series(1, n) OFFSET 0) AS r OFFSET 0) AS a OFFSET 0) AS b;
END;

-- Row "create many, SQL" of the benchmarks: n tokens with their events in one
-- statement.  Returns how many.
CREATE FUNCTION baseline.create_bulk(n int) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
	WITH s AS MATERIALIZED (
		SELECT m.selector, m.verifier, 'bulk ' || m.i AS token_name, date_trunc('milliseconds', clock_timestamp()) AS made_at
		FROM baseline.make_secrets(n) WITH ORDINALITY AS m (selector, verifier, secret, i)),
	t AS (
		INSERT INTO unleash_tokens.api_token
			(selector, verifier, token_name, type, environment, all_projects, created_at, created_by)
		SELECT selector, verifier, token_name, 'client', 'development', true, made_at, session_user FROM s),
	e AS (
		INSERT INTO unleash_tokens.api_token_event (type, selector, token_name, actor, data)
		SELECT 'api-token-created', selector, token_name, session_user, jsonb_build_object('tokenName', token_name,
			'projects', '["*"]'::jsonb, 'project', '*', 'environment', 'development', 'type', 'client',
			'createdAt', baseline.show_time(made_at), 'expiresAt', NULL, 'seenAt', NULL, 'alias', NULL)
		FROM s)
	SELECT count(*) FROM s;
END;

-- Row "create, only the INSERTs" of the benchmarks: the rows of one token of all
-- projects, all values given.  From a client, without any function:
--
--     PREPARE insert_bare (text, bytea, text, jsonb) AS
--     WITH t AS (
--         INSERT INTO unleash_tokens.api_token
--             (selector, verifier, token_name, type, environment, all_projects, created_at, created_by)
--         VALUES ($1, $2, $3, 'client', 'development', true, clock_timestamp(), session_user))
--     INSERT INTO unleash_tokens.api_token_event (type, selector, token_name, actor, data)
--     VALUES ('api-token-created', $1, $3, session_user, $4);
CREATE FUNCTION baseline.insert_bare(selector text, verifier bytea, token_name text, data jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
	WITH t AS (
		INSERT INTO unleash_tokens.api_token
			(selector, verifier, token_name, type, environment, all_projects, created_at, created_by)
		VALUES (selector, verifier, token_name, 'client', 'development', true, clock_timestamp(), session_user))
	INSERT INTO unleash_tokens.api_token_event (type, selector, token_name, actor, data)
	VALUES ('api-token-created', selector, token_name, session_user, data);
END
$$;

-- Row "validate, only the look-up" of the benchmarks: the row of a token by its
-- primary key, with the columns that a validation needs.  From a client,
-- without any function:
--
--     PREPARE find_by_key (text) AS
--     SELECT selector, verifier, token_name, type, environment, all_projects, expires_at
--     FROM unleash_tokens.api_token WHERE selector = $1;
CREATE FUNCTION baseline.find_by_key(
	key text, OUT selector text, OUT verifier bytea, OUT token_name text, OUT type text,
	OUT environment text, OUT all_projects boolean, OUT expires_at timestamptz) RETURNS record
LANGUAGE plpgsql VOLATILE STRICT AS $$
#variable_conflict use_column
BEGIN
	SELECT t.selector, t.verifier, t.token_name, t.type, t.environment, t.all_projects, t.expires_at
	INTO selector, verifier, token_name, type, environment, all_projects, expires_at
	FROM unleash_tokens.api_token AS t WHERE t.selector = key;
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA baseline FROM PUBLIC;
COMMIT;
