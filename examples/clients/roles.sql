-- Logins for programs that check secrets and do nothing else.  Run as a superuser, in the database that has the extension, after
-- http/roles.sql:
--
--     psql -v ON_ERROR_STOP=1 -d your_database -f examples/clients/roles.sql
--
-- No password is set: let them in by "peer" or a certificate, or set one with \password.

BEGIN;

-- For drivers that bind parameters (psycopg 3, node-postgres, libpq's PQexecParams, JDBC, psql 16 with \bind).  The text says $1; the
-- parameter is written beside it unless these are 0, which only a superuser may set.
CREATE ROLE shop LOGIN;
GRANT unleash_tokens_validate TO shop;
ALTER ROLE shop SET log_parameter_max_length = 0;
ALTER ROLE shop SET log_parameter_max_length_on_error = 0;
ALTER ROLE shop SET plan_cache_mode = force_generic_plan;	-- a plan for one execution has the parameters in it, and plans may be logged
ALTER ROLE shop SET auto_explain.log_verbose = off;
ALTER ROLE shop SET pgaudit.log_parameter = off;

-- For programs that put the secret into the text (psycopg 2, psql before 16).  The text itself must be kept from where texts go: the
-- log, whatever the server logs of others, and pg_stat_activity.
CREATE ROLE shop_literal LOGIN;
GRANT unleash_tokens_validate TO shop_literal;
ALTER ROLE shop_literal SET log_parameter_max_length = 0;
ALTER ROLE shop_literal SET log_parameter_max_length_on_error = 0;
ALTER ROLE shop_literal SET log_statement = none;
ALTER ROLE shop_literal SET log_min_duration_statement = -1;
ALTER ROLE shop_literal SET log_min_duration_sample = -1;
ALTER ROLE shop_literal SET log_transaction_sample_rate = 0;
ALTER ROLE shop_literal SET log_min_error_statement = panic;
ALTER ROLE shop_literal SET log_error_verbosity = terse;
ALTER ROLE shop_literal SET debug_print_parse = off;
ALTER ROLE shop_literal SET debug_print_rewritten = off;
ALTER ROLE shop_literal SET debug_print_plan = off;
ALTER ROLE shop_literal SET track_activities = off;
ALTER ROLE shop_literal SET auto_explain.log_min_duration = -1;
ALTER ROLE shop_literal SET pgaudit.log = none;

COMMIT;
