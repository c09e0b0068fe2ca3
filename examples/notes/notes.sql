-- A complete small API behind these tokens: notes of projects.  Run as a superuser in the database that has the extension:
--
--     psql -v ON_ERROR_STOP=1 -d your_database -f examples/notes/notes.sql
--
-- Then PostgREST with examples/notes/postgrest.conf, and nginx with http/guarded.conf in front of it.  It may be run again.

BEGIN;

SET LOCAL client_min_messages = warning;

-- What PostgREST logs in as, what a request runs as before its token is looked at, and what tokens of each type run as.
DO $$
DECLARE
	wanted text;
BEGIN
	FOREACH wanted IN ARRAY ARRAY['notes_authenticator', 'notes_anonymous', 'notes_frontend', 'notes_client', 'notes_admin'] LOOP
		IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I', wanted);
		END IF;
	END LOOP;
END
$$;
ALTER ROLE notes_authenticator LOGIN NOINHERIT;
GRANT notes_anonymous, notes_frontend, notes_client, notes_admin TO notes_authenticator;

-- PostgREST reads these two from here; guard_check() looks at them.
ALTER ROLE notes_authenticator SET pgrst.db_anon_role = 'notes_anonymous';
ALTER ROLE notes_authenticator SET pgrst.db_pre_request = 'unleash_tokens.guard';

-- Tokens travel as bind parameters, and the server would write those into its log.
ALTER ROLE notes_authenticator SET log_parameter_max_length = 0;
ALTER ROLE notes_authenticator SET log_parameter_max_length_on_error = 0;
ALTER ROLE notes_authenticator SET log_error_verbosity = terse;
ALTER ROLE notes_authenticator SET plan_cache_mode = force_generic_plan;

-- A role's own settings count for its requests.
ALTER ROLE notes_frontend SET statement_timeout = '2s';

CREATE SCHEMA IF NOT EXISTS notes;
CREATE TABLE IF NOT EXISTS notes.note (
	id			bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	project		text NOT NULL,
	environment	text NOT NULL,
	body		text NOT NULL,
	written_by	text NOT NULL DEFAULT unleash_tokens.token_name(),
	written_at	timestamptz NOT NULL DEFAULT now()
);

GRANT USAGE ON SCHEMA unleash_tokens TO notes_anonymous;
GRANT USAGE ON SCHEMA notes TO notes_frontend, notes_client, notes_admin;
GRANT SELECT ON notes.note TO notes_frontend;
GRANT SELECT, INSERT (project, environment, body), UPDATE (body) ON notes.note TO notes_client;
GRANT SELECT, INSERT, UPDATE, DELETE ON notes.note TO notes_admin;

SELECT unleash_tokens.set_guard_role('frontend', 'notes_frontend'), unleash_tokens.set_guard_role('client', 'notes_client'),
	unleash_tokens.set_guard_role('backend', 'notes_client'), unleash_tokens.set_guard_role('admin', 'notes_admin');

-- Each token sees and writes the rows of its projects and its environment.
SELECT unleash_tokens.protect('notes.note', 'project', 'environment', dry_run => false);

INSERT INTO unleash_tokens.project (id) VALUES ('garden'), ('kitchen') ON CONFLICT DO NOTHING;
INSERT INTO notes.note (project, environment, body, written_by)
	SELECT p, e, format('The first note of the %s in %s', p, e), 'example'
	FROM unnest(ARRAY['garden', 'kitchen']) AS p, unnest(ARRAY['development', 'production']) AS e
	WHERE NOT EXISTS (SELECT FROM notes.note);

COMMIT;
