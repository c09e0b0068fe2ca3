-- What the same stack costs without the extension: the entries of PostgREST again, in a schema of their own, where nothing is
-- checked and nothing is read.

CREATE SCHEMA bench;
CREATE SEQUENCE bench.number;

-- As many INSERTs as a create makes, the same statements into the same tables, with values that cost nothing to find.  @DATA@ is
-- the event of a real create.
CREATE FUNCTION bench.rest_api(bytea) RETURNS unleash_tokens."*/*"
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off -- so that plans of foreign keys made for an empty table are good for a full one, as ours are
AS $function$
DECLARE
	number text := nextval('bench.number');
	key text := 'benchbenchbe' || lpad(number, 10, '0');
	name text := 'bench-' || number;
BEGIN
	INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, created_at, expires_at, created_by)
	VALUES (key, '\x0000000000000000000000000000000000000000000000000000000000000000', name, 'client', 'development', false, now(), NULL, 'first')
	ON CONFLICT (selector) DO NOTHING;
	INSERT INTO unleash_tokens.api_token_project (selector, project, ord)
	SELECT key, u.id, u.ord FROM unnest(ARRAY['default']) WITH ORDINALITY AS u (id, ord);
	INSERT INTO unleash_tokens.api_token_event (type, selector, token_name, actor, actor_selector, data, pre_data)
	VALUES ('api-token-created', key, name, 'first', 'benchbenchbenchbenchbe', '@DATA@', NULL);
	RETURN '';
END
$function$;

-- Nothing at all, by GET and by a POST that only reads.
CREATE FUNCTION bench.rest_api() RETURNS unleash_tokens."*/*"
LANGUAGE sql VOLATILE RETURN ''::bytea;
CREATE FUNCTION bench.rest_read(bytea) RETURNS unleash_tokens."*/*"
LANGUAGE sql STABLE RETURN ''::bytea;

REVOKE ALL ON ALL ROUTINES IN SCHEMA bench FROM PUBLIC;
GRANT USAGE ON SCHEMA bench TO unleash_tokens_rest;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA bench TO unleash_tokens_rest;
