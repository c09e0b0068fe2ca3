-- protect() writes policies in their fast form; guard_check() finds what a guarded API leaves open.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS unleash_tokens CASCADE;
CREATE ROLE check_login LOGIN NOINHERIT;
CREATE ROLE check_anonymous ROLE check_login;
CREATE ROLE check_reader ROLE check_login;
CREATE ROLE check_writer ROLE check_login;
CREATE ROLE check_other;
ALTER ROLE check_login SET pgrst.db_anon_role = 'check_anonymous';
ALTER ROLE check_login SET pgrst.db_pre_request = 'unleash_tokens.guard';
ALTER ROLE check_login SET log_parameter_max_length = 0;
ALTER ROLE check_login SET log_parameter_max_length_on_error = 0;
CREATE SCHEMA check_api;
GRANT USAGE ON SCHEMA check_api TO check_reader, check_writer;
CREATE TABLE check_api.note (id int PRIMARY KEY, project text, "Environment" varchar(100), number int);
RESET client_min_messages;

-- protect() shows statements, and runs them when told so; as often as one likes.
SELECT * FROM unleash_tokens.protect('check_api.note');
SELECT unleash_tokens.set_guard_role('frontend', 'check_reader'), unleash_tokens.set_guard_role('client', 'check_writer');
SELECT * FROM unleash_tokens.protect('check_api.note');
SELECT relrowsecurity FROM pg_class WHERE oid = 'check_api.note'::regclass;
SELECT count(*) FROM unleash_tokens.protect('check_api.note', 'project', 'Environment', false);
SELECT count(*) FROM unleash_tokens.protect('check_api.note', 'project', 'Environment', false);
SELECT polname, polpermissive, polcmd, polroles::regrole[], pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
FROM pg_policy WHERE polrelid = 'check_api.note'::regclass ORDER BY polname;
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'check_api.note'::regclass ORDER BY 1;
GRANT SELECT, INSERT ON check_api.note TO check_reader, check_writer;

-- What it refuses.
SELECT unleash_tokens.protect('check_api.note', 'number');
SELECT unleash_tokens.protect('check_api.note', 'nothing', 'number');
SELECT unleash_tokens.protect('check_api.note', NULL);
CREATE VIEW check_api.view_note AS SELECT 'a' AS project;
SELECT unleash_tokens.protect('check_api.view_note');
DROP VIEW check_api.view_note;

-- Nothing is open.
CREATE FUNCTION pg_temp.found() RETURNS TABLE (check_name text, status text, detail text) LANGUAGE sql AS $$
	SELECT c.check_name, c.status, c.detail FROM unleash_tokens.guard_check() AS c WHERE c.status <> 'ok' AND c.check_name <> 'server_version' $$;
SELECT * FROM pg_temp.found();
SELECT count(*), count(hint) FROM unleash_tokens.guard_check() WHERE check_name <> 'server_version';

-- Each hole is made and found, alone.
BEGIN; UPDATE unleash_tokens.guard_role SET role = 'check_gone' WHERE type = 'client'; SELECT * FROM pg_temp.found() WHERE check_name = 'guard_roles'; ROLLBACK;
BEGIN; ALTER ROLE check_writer BYPASSRLS; SELECT * FROM pg_temp.found(); ROLLBACK;
BEGIN; GRANT pg_read_all_data TO check_writer; SELECT * FROM pg_temp.found(); ROLLBACK;
BEGIN; DELETE FROM unleash_tokens.guard_role; SELECT * FROM pg_temp.found(); ROLLBACK;
BEGIN; CREATE TABLE check_api.open (a int); GRANT INSERT (a) ON check_api.open TO check_writer; SELECT * FROM pg_temp.found(); ROLLBACK;
BEGIN; ALTER TABLE check_api.note DISABLE ROW LEVEL SECURITY; SELECT * FROM pg_temp.found(); ROLLBACK;
BEGIN; CREATE MATERIALIZED VIEW check_api.copied AS SELECT * FROM check_api.note; GRANT SELECT ON check_api.copied TO check_reader; SELECT * FROM pg_temp.found(); ROLLBACK;
BEGIN; CREATE TABLE check_api.open (a int); GRANT TRUNCATE ON check_api.open TO PUBLIC; SELECT * FROM pg_temp.found(); ROLLBACK;
BEGIN; ALTER TABLE check_api.note OWNER TO check_writer; SELECT * FROM pg_temp.found(); ROLLBACK;
BEGIN; ALTER TABLE check_api.note OWNER TO check_writer; ALTER TABLE check_api.note FORCE ROW LEVEL SECURITY; SELECT * FROM pg_temp.found(); ROLLBACK;
BEGIN; CREATE VIEW check_api.all_notes AS SELECT * FROM check_api.note; GRANT SELECT ON check_api.all_notes TO check_reader; SELECT check_name, status, replace(detail, current_user, 'OWNER') FROM pg_temp.found(); ROLLBACK;
BEGIN; CREATE VIEW check_api.all_notes WITH (security_invoker) AS SELECT * FROM check_api.note; GRANT SELECT ON check_api.all_notes TO check_reader; SELECT * FROM pg_temp.found(); ROLLBACK;
BEGIN; CREATE FUNCTION check_api.all_notes() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM check_api.note'; SELECT * FROM pg_temp.found(); ROLLBACK;
BEGIN; CREATE POLICY everyone ON check_api.note USING (true); SELECT * FROM pg_temp.found(); ROLLBACK;
BEGIN; CREATE POLICY slow ON check_api.note TO check_reader USING (unleash_tokens.token_reaches(project)); SELECT * FROM pg_temp.found(); ROLLBACK;
BEGIN; CREATE POLICY slow ON check_api.note TO check_reader USING (project = ANY (unleash_tokens.token_projects())); SELECT * FROM pg_temp.found(); ROLLBACK;
BEGIN; DROP INDEX check_api.note_project_idx; SELECT * FROM pg_temp.found(); ROLLBACK;
BEGIN; GRANT check_other TO check_login; SELECT * FROM pg_temp.found(); ROLLBACK;
BEGIN; ALTER ROLE check_login RESET pgrst.db_pre_request; SELECT * FROM pg_temp.found(); ROLLBACK;
BEGIN; ALTER ROLE check_login SET pgrst.db_pre_request = 'public.guard'; SELECT * FROM pg_temp.found(); ROLLBACK;
BEGIN; ALTER ROLE check_login SET unleash_tokens.guard_missing = 'anonymous'; SELECT * FROM pg_temp.found(); ROLLBACK;
BEGIN; ALTER ROLE check_login SET log_parameter_max_length = -1; SELECT * FROM pg_temp.found(); ROLLBACK;
-- a minor version with faults that were mended since
SELECT v AS version, unleash_tokens.lacks_corrections(v) FROM unnest(ARRAY[150000, 150013, 150014, 150020, 160000, 160009, 160010, 170000, 170005, 170006, 180000, 190000]) AS v;
SELECT (status = 'warning') = unleash_tokens.lacks_corrections(current_setting('server_version_num')::int) AS said, (detail LIKE 'PostgreSQL %') = (status = 'warning') AS named
FROM unleash_tokens.guard_check() WHERE check_name = 'server_version';
-- a schema that is not shown is not looked at
BEGIN; CREATE TABLE check_api.open (a int); GRANT SELECT ON check_api.open TO check_writer; SELECT count(*) FROM unleash_tokens.guard_check(ARRAY['public']) WHERE status = 'error'; ROLLBACK;

DELETE FROM unleash_tokens.guard_role;
SET client_min_messages = warning;
DROP SCHEMA check_api CASCADE;
DROP ROLE check_login, check_anonymous, check_reader, check_writer, check_other;
