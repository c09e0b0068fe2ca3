-- What the tests need beside examples/notes: ways to ask who is calling, and other ways to the rows.
CREATE FUNCTION notes.who() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT jsonb_build_object('name', unleash_tokens.token_name(), 'projects', unleash_tokens.token_projects(), 'role', current_user,
		'timeout', current_setting('statement_timeout'), 'rows', (SELECT count(*) FROM notes.note), 'read_only', current_setting('transaction_read_only'),
		'headers', current_setting('request.headers', true)) $$;
CREATE FUNCTION notes.who_stable() RETURNS jsonb LANGUAGE plpgsql STABLE AS 'BEGIN RETURN notes.who(); END';
CREATE FUNCTION notes.answer() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 42';
CREATE FUNCTION notes.add(project text, environment text, body text) RETURNS bigint LANGUAGE sql VOLATILE AS
	'INSERT INTO notes.note (project, environment, body) VALUES ($1, $2, $3) RETURNING id';
CREATE VIEW notes.note_owned AS SELECT * FROM notes.note;
ALTER VIEW notes.note_owned OWNER TO notes_client;
CREATE VIEW notes.note_invoker WITH (security_invoker) AS SELECT * FROM notes.note;
GRANT SELECT ON notes.note_owned, notes.note_invoker TO notes_frontend, notes_client, notes_admin;
GRANT USAGE ON SCHEMA notes TO notes_anonymous;
-- another login, for which a request without a token is no refusal
CREATE ROLE notes_open LOGIN NOINHERIT;
GRANT notes_anonymous, notes_frontend, notes_client, notes_admin TO notes_open;
ALTER ROLE notes_open SET unleash_tokens.guard_missing = 'anonymous';
ALTER ROLE notes_open SET pgrst.db_anon_role = 'notes_anonymous';
ALTER ROLE notes_open SET pgrst.db_pre_request = 'unleash_tokens.guard';
ALTER ROLE notes_open SET log_parameter_max_length = 0;
ALTER ROLE notes_open SET log_parameter_max_length_on_error = 0;
ALTER ROLE notes_open SET plan_cache_mode = force_generic_plan;
CREATE ROLE notes_replicator LOGIN REPLICATION;
NOTIFY pgrst, 'reload schema';
GRANT USAGE ON SCHEMA unleash_tokens TO notes_authenticator, notes_frontend, notes_client, notes_admin;
