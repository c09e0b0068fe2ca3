
# Copyright (c) 2026, unleash_tokens contributors

# doctor() on a server that is well set up finds nothing; then each thing it
# looks at is broken, and it names exactly that.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UsageTest;

my $checkout = abs_path(dirname(__FILE__) . '/..');
my $roles = "$checkout/http/roles.sql";

# What is not ok, as "name status" in lines.
my $complaints = q{SELECT check_name || ' ' || status FROM unleash_tokens.doctor() WHERE status <> 'ok'};

# Every check that was seen to complain.
my %seen;

sub remember
{
	my ($complained) = @_;
	$seen{$_} = 1 foreach $complained =~ /^(\w+) /mg;
	return $complained;
}

sub complains
{
	my ($node, $expected, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(remember($node->safe_psql('postgres', $complaints)), $expected, $what);
}

sub comes_to_complain
{
	my ($node, $expected, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until('postgres', $complaints, $expected), $what)
	  or diag('it says: ' . $node->safe_psql('postgres', 'SELECT * FROM unleash_tokens.doctor()'));
	remember($expected);
	return;
}

# Done and undone in one transaction: SQL that breaks something, what is named,
# and what the detail says.
sub breaks
{
	my ($node, $sql, $expected, $detail, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($complained, $details) = split /^=\n?/m, $node->safe_psql('postgres',
		"BEGIN; $sql; $complaints; SELECT '='; SELECT detail, hint FROM unleash_tokens.doctor() WHERE status <> 'ok'; ROLLBACK");
	is(remember($complained), "$expected\n", $what);
	like($details, $detail, '... and says what');
	unlike($details, qr/\|$/m, '... and what to do');
	return;
}

# ---- A server that is well set up ----

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'END');
shared_preload_libraries = 'unleash_tokens'
unleash_tokens.flush_interval = 3600
unleash_tokens.usage_slots = 64
unleash_tokens.expiry_notice = ''
fsync = on
log_statement = none
autovacuum = off
END
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION unleash_tokens; CREATE ROLE poor');

complains($node, 'roles warning', 'without http/roles.sql: the roles, and nothing else');
$node->safe_psql('postgres', slurp_file($roles));
complains($node, '', 'with it: nothing');

$node->safe_psql('postgres', q{
	INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b');
	SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "one", "project": "a"}');
	SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "two", "projects": ["a", "b"], "expiresAt": "2001-01-01T00:00:00Z"}');
	SELECT unleash_tokens.create_api_token('{"type": "admin", "tokenName": "three"}')});
make_tokens($node, 100);
complains($node, '', 'with tokens: nothing');

my $all = $node->safe_psql('postgres', q{SELECT check_name FROM unleash_tokens.doctor()});
my @all = split /\n/, $all;
cmp_ok(scalar(@all), '>=', 30, scalar(@all) . ' checks');
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT check_name) = count(*), bool_and(status = 'ok' AND detail ~ '\.$' AND hint IS NULL) FROM unleash_tokens.doctor()}),
	scalar(@all) . '|t|t', 'each is one row, with a sentence and nothing to do');
my $reference = slurp_file("$checkout/doc/reference.md");
is(join(' ', grep { $reference !~ /^\| `$_` \|/m } @all), '', 'doc/reference.md describes each of them');
is(join(' ', grep { my $name = $_; !grep { $_ eq $name } @all } $reference =~ /^\| `(\w+)` \| (?:warning|error)/mg), '', '... and no other');

# ---- Who may ask ----

is($node->safe_psql('postgres', "SET ROLE unleash_tokens_admin; $complaints"), '', 'unleash_tokens_admin may ask and sees the same');
is($node->safe_psql('postgres', "BEGIN READ ONLY; $complaints; COMMIT"), '', 'in a READ ONLY transaction too');
foreach my $role ('unleash_tokens_rest', 'unleash_tokens_standby', 'pg_monitor')
{
	my ($code, $out, $err) = $node->psql('postgres', "SET ROLE $role; $complaints");
	ok($code != 0 && $err =~ /permission denied/, "$role may not");
}
# PostgREST calls it so, after a login with settings of its own
is($node->safe_psql('postgres', "SET ROLE unleash_tokens_admin; $complaints", extra_params => [ '-U', 'unleash_tokens_authenticator' ]), '', '... after a login as unleash_tokens_authenticator');

# ---- The extension itself ----

breaks($node, q{UPDATE pg_extension SET extversion = '1.0' WHERE extname = 'unleash_tokens'}, 'version warning',
	qr/version 1\.0 is installed here, the files are those of 2\.\d/, 'not updated');
like($node->safe_psql('postgres', q{SELECT detail FROM unleash_tokens.doctor() WHERE check_name = 'version'}), qr/^Version 2\.\d, as the files and the library that is loaded\.$/, '... and when it is');
breaks($node, q{CREATE EXTENSION pgcrypto; INSERT INTO pg_depend SELECT 'pg_extension'::regclass, u.oid, 0, 'pg_extension'::regclass, p.oid, 0, 'n'
	FROM pg_extension AS u, pg_extension AS p WHERE u.extname = 'unleash_tokens' AND p.extname = 'pgcrypto'}, 'pgcrypto error', qr/the tables depend on extension pgcrypto/,
	'the tables hang on pgcrypto, as those of 1.0 did');
breaks($node, 'CREATE SCHEMA other; CREATE EXTENSION pgcrypto SCHEMA other; ALTER TABLE unleash_tokens.api_token_event OWNER TO poor',
	'owners error', qr/table unleash_tokens.api_token_event is owned by poor/, 'a table is owned by another; pgcrypto lies elsewhere, which does not matter');
breaks($node, "ALTER $_ OWNER TO poor", 'owners error', qr/is owned by poor/, "$_ is owned by another")
  foreach 'FUNCTION unleash_tokens.list_refusals()', 'SCHEMA unleash_tokens', 'VIEW unleash_tokens.stat';
breaks($node, 'ALTER FUNCTION unleash_tokens.create_api_token(jsonb) RESET search_path', 'search_path error', qr/create_api_token\(jsonb\) lost/, 'no search_path');
breaks($node, 'ALTER FUNCTION unleash_tokens.doctor() SET search_path = public, pg_catalog', 'search_path error', qr/doctor\(\) lost/, 'another search_path');
breaks($node, "CREATE $_->[0]", 'foreign_objects warning', $_->[1], "somebody's $_->[0]")
  foreach [ 'TABLE unleash_tokens.mine ()', qr/table unleash_tokens.mine is none of ours/ ],
  [ 'VIEW unleash_tokens.mine AS SELECT 1', qr/view unleash_tokens.mine/ ], [ 'SEQUENCE unleash_tokens.mine', qr/sequence unleash_tokens.mine/ ],
  [ 'OPERATOR unleash_tokens.= (FUNCTION = texteq, LEFTARG = text, RIGHTARG = text)', qr/operator unleash_tokens.=/ ],
  [ 'TYPE unleash_tokens.mine AS (a int)', qr/type unleash_tokens.mine/ ],
  [ q{FUNCTION unleash_tokens.doctor(text) RETURNS text LANGUAGE sql AS 'SELECT 1::text'; REVOKE ALL ON FUNCTION unleash_tokens.doctor(text) FROM PUBLIC}, qr/function unleash_tokens.doctor\(text\)/ ];

my $function = q{CREATE FUNCTION public.noisy() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; };
breaks($node, $function . 'CREATE TRIGGER "Noisy one" AFTER INSERT ON unleash_tokens.api_token EXECUTE FUNCTION public.noisy()',
	'foreign_triggers warning', qr/trigger "Noisy one" on unleash_tokens.api_token/, 'a trigger');
breaks($node, 'CREATE RULE quiet AS ON INSERT TO unleash_tokens.api_token_event DO INSTEAD NOTHING', 'foreign_triggers warning', qr/rule quiet on/, 'a rule');
breaks($node, 'CREATE POLICY mine ON unleash_tokens.api_token USING (true)', 'foreign_triggers warning', qr/row security policy mine on/, 'a policy');
breaks($node, 'ALTER TABLE unleash_tokens.project ENABLE ROW LEVEL SECURITY', 'foreign_triggers warning', qr/row security on unleash_tokens.project/, 'row security');

breaks($node, 'ALTER TABLE unleash_tokens.api_token_project DISABLE TRIGGER delete_scopeless_tokens', 'own_triggers error',
	qr/trigger delete_scopeless_tokens on unleash_tokens.api_token_project is missing or disabled/, 'a trigger of ours is disabled');
breaks($node, 'ALTER TABLE unleash_tokens.backup_row ENABLE REPLICA TRIGGER restore_row', 'own_triggers error', qr/trigger restore_row on/, '... or fires on replicas only');
breaks($node, 'DROP TRIGGER mark_changed ON unleash_tokens.project', 'own_triggers error', qr/trigger mark_changed on unleash_tokens.project/, '... or gone');
breaks($node, 'ALTER TABLE unleash_tokens.environment DISABLE TRIGGER ALL; ALTER TABLE unleash_tokens.environment ENABLE TRIGGER USER', 'own_triggers error',
	qr/a foreign key of unleash_tokens.environment is not enforced/, 'a foreign key is disabled');
breaks($node, 'ALTER TABLE unleash_tokens.api_token DROP CONSTRAINT api_token_type_check', 'constraints error', qr/api_token_type_check is missing/, 'a constraint is gone');
breaks($node, q{ALTER TABLE unleash_tokens.api_token DROP CONSTRAINT api_token_type_check; ALTER TABLE unleash_tokens.api_token ADD CONSTRAINT api_token_type_check CHECK (type <> '') NOT VALID},
	'constraints error', qr/api_token_type_check is missing or not valid/, '... or not valid');
breaks($node, 'DROP INDEX unleash_tokens.api_token_verifier_idx', 'indexes error', qr/api_token_verifier_idx is missing/, 'an index is gone');
breaks($node, q{UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'unleash_tokens.api_token_pkey'::regclass}, 'indexes error', qr/api_token_pkey is missing or not valid/,
	'... or not valid');

# ---- Who may do what ----

breaks($node, "GRANT $_->[0] TO PUBLIC", 'public_privileges error', $_->[1], "for PUBLIC: $_->[0]")
  foreach [ 'EXECUTE ON FUNCTION unleash_tokens.create_api_token(jsonb)', qr/EXECUTE on unleash_tokens.create_api_token\(jsonb\)/ ],
  [ 'USAGE ON SCHEMA unleash_tokens', qr/USAGE on schema unleash_tokens/ ], [ 'INSERT ON unleash_tokens.api_token', qr/INSERT on unleash_tokens.api_token/ ],
  [ 'SELECT (verifier) ON unleash_tokens.api_token', qr/SELECT on unleash_tokens.api_token.verifier/ ],
  [ 'SELECT ON SEQUENCE unleash_tokens.api_token_event_id_seq', qr/SELECT on unleash_tokens.api_token_event_id_seq/ ],
  [ 'USAGE ON TYPE unleash_tokens."*/*"', qr/USAGE on unleash_tokens/ ];
breaks($node, q{UPDATE pg_proc SET proacl = NULL WHERE oid = 'unleash_tokens.note_usage'::regproc}, "public_privileges error\ngrants error", qr/EXECUTE on unleash_tokens.note_usage/,
	'the defaults of the server count, where there is no ACL');

breaks($node, 'ALTER ROLE unleash_tokens_standby RENAME TO other', 'roles warning', qr/there is no role unleash_tokens_standby/, 'a role is missing');
breaks($node, "ALTER ROLE unleash_tokens_rest $_", 'roles warning', qr/role unleash_tokens_rest has other attributes/, "unleash_tokens_rest is $_")
  foreach 'CREATEDB', 'CREATEROLE', 'REPLICATION', 'BYPASSRLS';
breaks($node, 'ALTER ROLE unleash_tokens_authenticator INHERIT', 'roles warning', qr/role unleash_tokens_authenticator has other attributes/, 'unleash_tokens_authenticator inherits');
breaks($node, 'REVOKE unleash_tokens_rest FROM unleash_tokens_authenticator', 'roles warning', qr/unleash_tokens_authenticator is no member of unleash_tokens_rest/, 'unleash_tokens_authenticator cannot become unleash_tokens_rest');
breaks($node, 'GRANT pg_read_all_data TO unleash_tokens_rest', 'roles warning', qr/unleash_tokens_rest is a member of pg_read_all_data/, 'unleash_tokens_rest can become another');

breaks($node, 'GRANT EXECUTE ON FUNCTION unleash_tokens.create_api_token(jsonb) TO unleash_tokens_rest', 'grants error',
	qr/unleash_tokens_rest has EXECUTE on unleash_tokens.create_api_token\(jsonb\)/, 'a right too many');
breaks($node, 'GRANT SELECT ON unleash_tokens.api_token TO unleash_tokens_authenticator', 'grants error', qr/unleash_tokens_authenticator has SELECT on unleash_tokens.api_token/, '... of the role that has none');
breaks($node, 'GRANT UPDATE (expires_at) ON unleash_tokens.api_token TO unleash_tokens_admin', 'grants error', qr/unleash_tokens_admin has UPDATE on unleash_tokens.api_token.expires_at/, '... on a column');
breaks($node, "REVOKE $_", 'grants error', qr/lacks/, "a right too few: $_") foreach 'EXECUTE ON FUNCTION unleash_tokens.doctor() FROM unleash_tokens_admin',
  'SELECT ON unleash_tokens.stat FROM unleash_tokens_admin', 'USAGE ON SCHEMA unleash_tokens FROM unleash_tokens_standby',
  'EXECUTE ON FUNCTION unleash_tokens.rest_read(bytea) FROM unleash_tokens_rest';
breaks($node, "ALTER ROLE unleash_tokens_authenticator $_", 'timeouts warning', qr/unleash_tokens_authenticator has no \w+_timeout/, "no limit of time: $_")
  foreach 'RESET statement_timeout', q{SET lock_timeout = '0 s'}, 'IN DATABASE postgres SET idle_in_transaction_session_timeout = 0';
breaks($node, "ALTER FUNCTION unleash_tokens.rest_read(bytea) $_", 'timeouts warning', qr/rest_read\(bytea\) lost its statement_timeout/, "no limit for a request: $_")
  foreach 'RESET statement_timeout', 'SET statement_timeout = 0';
SKIP:
{
	skip 'memberships say whether they are inherited from PostgreSQL 16 on', 1 if $node->safe_psql('postgres', 'SHOW server_version_num') < 160000;
	breaks($node, 'GRANT unleash_tokens_admin TO unleash_tokens_authenticator WITH INHERIT TRUE', 'roles warning',
		qr/unleash_tokens_authenticator inherits the rights of unleash_tokens_admin/, 'a membership that is inherited');
}

# ---- Logs ----

my $length = 'log_parameter_max_length';
breaks($node, "ALTER ROLE unleash_tokens_authenticator $_", 'parameter_logging warning', qr/unleash_tokens_authenticator has log_parameter_max_length = /, "parameters may be logged: $_")
  foreach "RESET $length", "SET $length = -1", "SET $length = '1kB'", "IN DATABASE postgres SET $length = 5", "RESET ALL; ALTER ROLE unleash_tokens_authenticator SET ${length}_on_error = 0;
	ALTER ROLE unleash_tokens_authenticator SET statement_timeout = 1; ALTER ROLE unleash_tokens_authenticator SET lock_timeout = 1; ALTER ROLE unleash_tokens_authenticator SET idle_in_transaction_session_timeout = 1";
breaks($node, "ALTER ROLE unleash_tokens_authenticator SET ${length}_on_error = -1", 'parameter_logging error', qr/unleash_tokens_authenticator has log_parameter_max_length_on_error = -1/, 'parameters are logged on error');
breaks($node, "ALTER ROLE unleash_tokens_authenticator RESET $length; ALTER ROLE unleash_tokens_authenticator SET $_", 'parameter_logging error', qr/unleash_tokens_authenticator has log_parameter_max_length = -1/, "parameters are logged: $_")
  foreach q{log_statement = 'all'}, "log_min_duration_statement = '1s'", 'log_min_duration_sample = 0', 'log_transaction_sample_rate = 0.1';
# the nearer setting counts
breaks($node, "ALTER ROLE unleash_tokens_authenticator RESET $length; ALTER DATABASE postgres SET $length = 7", 'parameter_logging warning', qr/unleash_tokens_authenticator has log_parameter_max_length = 7/,
	'what the database says counts when the role says nothing');
foreach my $sql (
	"ALTER DATABASE postgres SET $length = 7",
	"ALTER ROLE ALL SET $length = 7",
	"ALTER DATABASE template1 SET $length = 7; ALTER ROLE unleash_tokens_authenticator IN DATABASE template1 SET $length = 7",
	"ALTER ROLE unleash_tokens_authenticator SET $length = 7; ALTER ROLE unleash_tokens_authenticator IN DATABASE postgres SET $length = '0 kB'",
	"ALTER ROLE unleash_tokens_authenticator RESET $length; ALTER ROLE ALL SET $length = 0",
	"ALTER ROLE unleash_tokens_authenticator RESET $length; ALTER ROLE ALL SET $length = 7; ALTER DATABASE postgres SET $length = 0",
	"ALTER ROLE unleash_tokens_standby SET $length = 7")
{
	is($node->safe_psql('postgres', "BEGIN; $sql; $complaints; ROLLBACK"), '', "nothing wrong: $sql");
}
# other callers
breaks($node, 'CREATE ROLE "Al ice" LOGIN; GRANT USAGE ON SCHEMA unleash_tokens TO "Al ice"; GRANT EXECUTE ON FUNCTION unleash_tokens.validate_api_token(text) TO "Al ice"',
	'parameter_logging warning', qr/"Al ice" has log_parameter_max_length = -1/, 'the role of another caller');
# a superuser can pass a secret too, and counts where his parameters do reach the log
breaks($node, "CREATE ROLE root SUPERUSER LOGIN; ALTER ROLE root SET $_", 'parameter_logging warning', qr/^root has log_parameter_max_length = -1\./m, "a superuser's parameters are logged: $_")
  foreach 'log_statement = mod', 'log_min_duration_statement = 100';
breaks($node, "CREATE ROLE root SUPERUSER LOGIN; ALTER ROLE ALL SET ${length}_on_error = 7; ALTER ROLE CURRENT_USER SET ${length}_on_error = 0; ALTER ROLE root SET log_statement = none",
	'parameter_logging warning', qr/^root has log_parameter_max_length_on_error = 7/m, '... by what is set for all');
breaks($node, 'CREATE ROLE root SUPERUSER LOGIN; ALTER ROLE root SET log_parameter_max_length_on_error = 9', 'parameter_logging warning', qr/^root has log_parameter_max_length_on_error = 9/m, '... on error');
is($node->safe_psql('postgres', "BEGIN; CREATE ROLE root SUPERUSER LOGIN; ALTER ROLE root SET log_statement = mod; ALTER ROLE root SET log_parameter_max_length = 0; $complaints; ROLLBACK"), '', '... but not without their values');
breaks($node, 'CREATE ROLE alice LOGIN; CREATE ROLE callers; GRANT unleash_tokens_admin TO callers; GRANT callers TO alice', 'parameter_logging warning',
	qr/alice has log_parameter_max_length = -1/, '... or one that can become such a role');
is($node->safe_psql('postgres', "BEGIN; CREATE ROLE alice LOGIN; CREATE ROLE nobody; GRANT unleash_tokens_admin TO nobody; $complaints; ROLLBACK"), '', '... but not who cannot, or cannot log in');

$node->append_conf('postgresql.conf', "log_statement = all\n");
$node->reload;
comes_to_complain($node, "parameter_logging warning\nstatement_logging warning", 'every statement is logged, with the parameters of superusers');
my $offset = -s $node->logfile;
$node->append_conf('postgresql.conf', "log_statement = none\nlog_min_duration_statement = 0\n");
$node->reload;
$node->wait_for_log(qr/parameter "log_min_duration_statement" changed/, $offset);
comes_to_complain($node, "parameter_logging warning\nstatement_logging warning", '... by its duration');
$node->append_conf('postgresql.conf', "log_min_duration_statement = 1000\n");
$node->reload;
comes_to_complain($node, 'parameter_logging warning', 'only slow ones are logged');
$node->append_conf('postgresql.conf', "log_min_duration_statement = -1\n");
$node->reload;
comes_to_complain($node, '', 'none is logged');

# ---- auto_explain, with and without what roles.sql sets ----

my $script = $node->basedir . '/key.sql';
append_to_file($script, "SELECT set_config('request.headers', :key, true);\n");

# Is a parameter of PostgREST's role in the log now?
sub key_is_logged
{
	my $from = -s $node->logfile;
	$node->command_ok([ 'pgbench', '-n', '-M', 'extended', '-t', '1', '-D', 'key=4242424242', '-U', 'unleash_tokens_authenticator', '-f', $script, 'postgres' ], 'a request');
	$node->wait_for_log(qr/Query Text: SELECT set_config/, $from);
	return slurp_file($node->logfile, $from) =~ /4242424242/;
}

$node->append_conf('postgresql.conf', "session_preload_libraries = 'auto_explain'\nauto_explain.log_min_duration = 0\nauto_explain.log_verbose = on\n");
$node->reload;
comes_to_complain($node, '', 'auto_explain for all but PostgREST');
is($node->safe_psql('postgres', q{SELECT detail FROM unleash_tokens.doctor() WHERE check_name = 'auto_explain'}), 'It logs no parameter and no output list.', '... is found');
ok(!key_is_logged(), '... and writes no parameter');
breaks($node, 'ALTER ROLE unleash_tokens_authenticator RESET auto_explain.log_verbose', 'auto_explain error', qr/unleash_tokens_authenticator has auto_explain.log_verbose = on/, 'a verbose auto_explain');
$node->safe_psql('postgres', 'ALTER ROLE unleash_tokens_authenticator RESET auto_explain.log_verbose');
ok(!key_is_logged(), '... which shows no parameter of a plan for all executions');
$node->safe_psql('postgres', 'ALTER ROLE unleash_tokens_authenticator RESET plan_cache_mode');
ok(key_is_logged(), '... and shows those of a plan for one');
$node->safe_psql('postgres', slurp_file($roles));
SKIP:
{
	skip 'auto_explain writes parameters from PostgreSQL 16 on', 3 if $node->safe_psql('postgres', 'SHOW server_version_num') < 160000;
	breaks($node, 'ALTER ROLE unleash_tokens_authenticator RESET auto_explain.log_parameter_max_length', 'auto_explain error', qr/unleash_tokens_authenticator has auto_explain.log_parameter_max_length = -1/,
		'auto_explain with parameters');
}
breaks($node, 'CREATE ROLE alice LOGIN; GRANT unleash_tokens_admin TO alice', "parameter_logging warning\nauto_explain error", qr/alice has auto_explain.log_verbose = on/, '... for another caller');
$node->append_conf('postgresql.conf', "session_preload_libraries = ''\n");
$node->reload;
comes_to_complain($node, '', 'no auto_explain');

# ---- What a crash could undo ----

foreach (
	[ "full_page_writes = off", 'durability warning', 'full_page_writes = on' ],
	[ "fsync = off", 'durability error', 'fsync = on' ],
	[ "synchronous_commit = off", 'durability warning', 'synchronous_commit = on' ])
{
	$node->append_conf('postgresql.conf', "$_->[0]\n");
	$node->reload;
	comes_to_complain($node, $_->[1], $_->[0]);
	$node->append_conf('postgresql.conf', "$_->[2]\n");
	$node->reload;
	comes_to_complain($node, '', $_->[2]);
}
breaks($node, 'ALTER ROLE unleash_tokens_authenticator SET synchronous_commit = off', 'durability warning', qr/unleash_tokens_authenticator has synchronous_commit = off/, '... for one role');

# ---- The tokens ----

my $replica = 'SET LOCAL session_replication_role = replica';
breaks($node, "$replica; DELETE FROM unleash_tokens.api_token_project WHERE project = 'a'", 'scopeless_tokens warning', qr/token utok\w{18} has no project/, 'a token without a project');
breaks($node, "$replica; DELETE FROM unleash_tokens.project WHERE id = 'b'", 'broken_references error', qr/token utok\w{18} is of a project that is gone/, 'a project is gone');
breaks($node, "$replica; DELETE FROM unleash_tokens.project", "scopeless_tokens warning\nbroken_references error", qr/(token utok\w{18} has no project(; |\.)){2}.*(token utok\w{18} is of a project that is gone(; |\.)){3}/s,
	'all projects are gone');
# whatever stands before, between or behind the others in their order, and also without the index that leads from one to the next
foreach my $index ('', 'DROP INDEX unleash_tokens.api_token_project_project_idx; ')
{
	foreach my $id ('!', 'aa', '~')
	{
		breaks($node, "$replica; $index INSERT INTO unleash_tokens.api_token_project SELECT selector, '$id', 3 FROM unleash_tokens.api_tokens WHERE token_name = 'two'",
			($index eq '' ? '' : "indexes error\n") . 'broken_references error', qr/token utok\w{18} is of a project that is gone\./, "project $id is gone" . ($index eq '' ? '' : ', and an index'));
	}
}
breaks($node, "$replica; INSERT INTO unleash_tokens.project (id) SELECT 'many' || i FROM generate_series(1, 10001) AS i; DELETE FROM unleash_tokens.project WHERE id = 'b'",
	'broken_references error', qr/token utok\w{18} is of a project that is gone\./, 'one of very many projects is gone');
breaks($node, "$replica; DELETE FROM unleash_tokens.environment WHERE name = 'development'", 'broken_references error', qr/(token utok\w{18} is of an environment that is gone; ){9}.*; and more\./,
	'an environment is gone; ten tokens are named');
breaks($node, "$replica; DELETE FROM unleash_tokens.api_token WHERE token_name = 'two'", 'broken_references error', qr/scope of token utok\w{18}, which is gone/, 'a token is gone');
my $expired = q{INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, created_at, expires_at)
	SELECT lpad(i::text, 22, '0'), sha256(i::text::bytea), 'old', 'client', 'development', true, '2001-01-01', now() - interval '91 days' FROM generate_series(1, %d) AS i};
breaks($node, sprintf($expired, 1001), 'expired_tokens warning', qr/1002 of 1104 tokens expired more than 90 days ago/, 'many expired tokens');
is($node->safe_psql('postgres', 'BEGIN; ' . sprintf($expired, 900) . "; $complaints; ROLLBACK"), '', '... but not a few');
breaks($node, 'SET LOCAL unleash_tokens.max_tokens = 114', 'token_limit warning', qr/103 tokens, and at most 114 are allowed/, 'close to the limit');
is($node->safe_psql('postgres', "BEGIN; SET LOCAL unleash_tokens.max_tokens = 116; $complaints; ROLLBACK"), '', '... but not far from it');
my $rotated = q{UPDATE unleash_tokens.api_token SET expires_at = NULL, next_verifier = sha256('next'), grace = '1 day', activate_by = now() - interval '%s' WHERE token_name = 'two'};
breaks($node, sprintf($rotated, '61 minutes'), 'rotations warning', qr/the new secret of token utok\w{18} was not used before .* and is refused/, 'a rotation that nobody finished');
is($node->safe_psql('postgres', 'BEGIN; ' . sprintf($rotated, '59 minutes') . "; $complaints; ROLLBACK"), '', '... but not at once');
breaks($node, q{UPDATE unleash_tokens.api_token SET created_at = now() + interval '1 minute' WHERE token_name = 'two'}, 'clock warning', qr/1 tokens were made later than now/, 'a token of the future');
breaks($node, q{UPDATE unleash_tokens.api_token_event SET at = now() + interval '1 minute' WHERE id = (SELECT max(id) FROM unleash_tokens.api_token_event)}, 'clock warning',
	qr/the last event happened later than now/, 'an event of the future');

$node->safe_psql('postgres', q{ALTER SYSTEM SET unleash_tokens.expiry_notice = '1,30'});
$node->reload;
ok($node->poll_query_until('postgres', 'SELECT count(*) = 2 FROM unleash_tokens.expiry_notice'), 'who is told of tokens that expire was looked at');
complains($node, '', '... which is fine');

# With many tokens: what can be found along an index is not looked for in the whole table
my $many = q{SET LOCAL session_replication_role = replica;
	INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, created_at, expires_at)
	SELECT lpad(i::text, 22, '0'), sha256(i::text::bytea), 'many', 'client', 'development', false, '2001-01-01', CASE WHEN i % 1000 = 0 THEN now() - interval '1 day' END FROM generate_series(1, 20000) AS i;
	INSERT INTO unleash_tokens.api_token_project SELECT lpad(i::text, 22, '0'), CASE WHEN i % 2 = 0 THEN 'a' ELSE 'b' END, 1 FROM generate_series(1, 20000) AS i;
	ANALYZE unleash_tokens.api_token; ANALYZE unleash_tokens.api_token_project};
my $read = q{SELECT sum(seq_tup_read) + sum(idx_tup_fetch) AS rows FROM pg_stat_xact_user_tables WHERE schemaname = 'unleash_tokens' AND relname ~ '^api_token'};
foreach ('check_expired_tokens', 'check_expiry_notices', 'list_lost_projects')
{
	my @rows = split /\n/, $node->safe_psql('postgres', "BEGIN; $many; $read; DO 'BEGIN PERFORM unleash_tokens.$_(); END'; $read; ROLLBACK");
	cmp_ok($rows[1] - $rows[0], '<', 1000, "$_ reads " . ($rows[1] - $rows[0]) . ' of 20,000 tokens');
}

my $soon = q{INSERT INTO unleash_tokens.api_token (selector, verifier, token_name, type, environment, all_projects, created_at, expires_at)
	VALUES (repeat('s', 22), sha256('soon'), 'soon', 'client', 'development', true, now() - interval '%s', now() + interval '%s')};
breaks($node, 'UPDATE unleash_tokens.expiry_notice SET up_to = up_to - interval \'5 hours\'; ' . sprintf($soon, '1 minute', '29 days 20 hours'), 'expiry_notices warning',
	qr/nobody was told that tokens expire within 30 days/, 'nobody was told that a token expires');
breaks($node, 'DELETE FROM unleash_tokens.expiry_notice; ' . sprintf($soon, '1 day', '20 hours'), 'expiry_notices warning', qr/nobody was told that tokens expire within 1 days/, '... since nobody ever looked');
is($node->safe_psql('postgres', "BEGIN; DELETE FROM unleash_tokens.expiry_notice; " . sprintf($soon, '1 minute', '20 hours') . "; $complaints; ROLLBACK"), '', '... but not at once');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET unleash_tokens.expiry_notice');
$node->reload;

# ---- When tokens were used ----

# a session keeps the server's attention while the postmaster, stopped, starts nothing
my $session = new_session($node, 'postgres');
is($session->query_safe($complaints), '', 'a session');
my $launcher = launcher_pid($node);
my $postmaster = $node->{_pid};
kill 'STOP', $postmaster;
kill 'TERM', $launcher;
$session->query_safe(q{DO $$BEGIN WHILE EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'unleash_tokens launcher') LOOP PERFORM pg_stat_clear_snapshot(); END LOOP; END$$});
is(remember($session->query_safe($complaints)), 'launcher warning', 'the launcher does not run');
kill 'CONT', $postmaster;
$session->quit;
comes_to_complain($node, '', '... and is started again');

# a launcher that is stopped starts no worker, so that the notes stay
$launcher = launcher_pid($node);
kill 'STOP', $launcher;
validate($node, 1, 64);
complains($node, '', 'as many notes as there is room for');
validate($node, 1, 100);
complains($node, 'notes_dropped warning', 'more notes than there is room for');
kill 'CONT', $launcher;
comes_to_complain($node, 'notes_dropped warning', '... stays to be said');
$node->safe_psql('postgres', 'SELECT unleash_tokens.stat_reset()');
complains($node, '', '... until stat_reset()');

$session = new_session($node, 'postgres');
$session->query_safe('BEGIN; LOCK TABLE unleash_tokens.api_token IN EXCLUSIVE MODE');
validate($node, 1, 1);
flush_every($node, 1);
comes_to_complain($node, 'last_error warning', 'uses cannot be written');
like($node->safe_psql('postgres', q{SELECT detail FROM unleash_tokens.doctor() WHERE check_name = 'last_error'}), qr/lock timeout/, '... and why');
$session->query_safe('COMMIT');
$session->quit;
comes_to_complain($node, '', '... until they can');

# ---- Settings at start ----

sub restart_with
{
	$node->append_conf('postgresql.conf', "$_\n") foreach @_;
	$node->restart;
	return;
}

# the launcher of logical replication takes one place
restart_with('max_worker_processes = 2', 'max_logical_replication_workers = 1');
launcher_pid($node);
comes_to_complain($node, 'worker_slots warning', 'no place for a flush worker');
restart_with('max_worker_processes = 3');
launcher_pid($node);
comes_to_complain($node, '', 'one place');
restart_with('max_worker_processes = 0', 'max_logical_replication_workers = 0');
complains($node, "launcher warning\nworker_slots warning", 'no place at all: no launcher either');
restart_with('max_worker_processes = 30', q{shared_preload_libraries = ''});
complains($node, 'preload warning', 'not preloaded');
breaks($node, q{DO $$ BEGIN PERFORM unleash_tokens.create_api_token('{"type": "client", "tokenName": "often", "rateLimit": {"limit": 5, "period": 1}}'); END $$},
	"preload warning\nrate_counted error", qr/token utok\S+ has a rateLimit, which cannot be counted\./, 'a limit that cannot be counted');
breaks($node, q{SET LOCAL unleash_tokens.rate_limit_client = '5/1s'}, "preload warning\nrate_counted error", qr/unleash_tokens\.rate_limit_client is set, which cannot be counted\./, '... and that of a type');
restart_with(q{shared_preload_libraries = 'unleash_tokens'});
launcher_pid($node);
complains($node, '', 'preloaded');
breaks($node, q{DO $$ BEGIN
		PERFORM unleash_tokens.set_guard_role('client', 'poor');
		PERFORM unleash_tokens.create_api_token('{"type": "client", "tokenName": "here", "allowedIps": ["10.0.0.1"]}');
	END $$},
	'guard_address warning', qr/token utok\S+ has allowedIps, and guard\(\) knows no address\./, 'guard() knows no address');
restart_with('unleash_tokens.rate_slots = 63');
$node->safe_psql('postgres', q{
	CREATE ROLE often; GRANT USAGE ON SCHEMA unleash_tokens TO often;
	DO $$
	BEGIN
		PERFORM unleash_tokens.set_guard_role('client', 'often');
		FOR i IN 1 .. 64 LOOP
			BEGIN
				PERFORM unleash_tokens.guard(unleash_tokens.create_api_token('{"type": "client", "tokenName": "often", "rateLimit": {"limit": 1, "period": 86400}}') ->> 'secret');
				RAISE EXCEPTION 'rolled back';
			EXCEPTION WHEN OTHERS THEN
			END;
		END LOOP;
		PERFORM unleash_tokens.drop_guard_role('client');
	END $$});
complains($node, 'rate_slots warning', 'no room to count');
$node->safe_psql('postgres', 'SELECT unleash_tokens.stat_reset()');
complains($node, '', '... until stat_reset()');

# ---- An owner who may not see everything ----

sub give_all_to
{
	my ($role) = @_;
	$node->safe_psql('postgres', qq{
		ALTER SCHEMA unleash_tokens OWNER TO $role;
		DO \$\$
		DECLARE statement text;
		BEGIN
			FOR statement IN SELECT format('ALTER TABLE %s OWNER TO $role', oid::regclass) FROM pg_class
				WHERE relnamespace = 'unleash_tokens'::regnamespace AND relkind IN ('r', 'v')
				UNION ALL SELECT format('ALTER FUNCTION %s OWNER TO $role', oid::regprocedure) FROM pg_proc
				WHERE pronamespace = 'unleash_tokens'::regnamespace
			LOOP
				EXECUTE statement;
			END LOOP;
		END
		\$\$});
	return;
}

give_all_to('poor');
complains($node, "owners error\nlauncher unknown", 'what the owner of the function may not see is unknown, not an error');
like($node->safe_psql('postgres', q{SELECT detail, hint FROM unleash_tokens.doctor() WHERE status = 'unknown'}), qr/may not see.*superuser/, '... and why');
give_all_to('CURRENT_USER');
complains($node, '', 'a superuser owns it all again');

# ---- A standby ----

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "wal_retrieve_retry_interval = 100ms\n");
$standby->start;
$node->wait_for_catchup($standby, 'replay');
launcher_pid($standby);

complains($standby, 'standby_primary warning', 'a standby that does not know its primary');
my $to_primary = sprintf 'host=%s port=%d user=unleash_tokens_standby', $node->host, $node->port;
$standby->append_conf('postgresql.conf', "unleash_tokens.primary_conninfo = '$to_primary password=hush'\n");
$standby->reload;
my $detail = q{SELECT detail FROM unleash_tokens.doctor() WHERE check_name = 'standby_primary'};
ok($standby->poll_query_until('postgres', $detail, 'unleash_tokens.primary_conninfo holds a password.'), '... that has a password in its settings');
unlike($standby->safe_psql('postgres', 'SELECT * FROM unleash_tokens.doctor()'), qr/hush|host=/, '... which is not shown, nor the rest');
$standby->append_conf('postgresql.conf', "unleash_tokens.primary_conninfo = 'postgresql://u:hush\@h'\n");
$standby->reload;
ok($standby->poll_query_until('postgres', $detail, 'unleash_tokens.primary_conninfo holds a password.'), '... or in a URI');
$standby->append_conf('postgresql.conf', "unleash_tokens.primary_conninfo = '$to_primary'\n");
$standby->reload;
comes_to_complain($standby, '', 'a standby that is well set up');
is($standby->safe_psql('postgres', "SET ROLE unleash_tokens_admin; $complaints"), '', '... as unleash_tokens_admin sees it');

give_all_to('poor');
$node->wait_for_catchup($standby, 'replay');
complains($standby, "owners error\nlauncher unknown\nstandby_primary unknown", '... as an owner sees it who may not see it all');
give_all_to('CURRENT_USER');
$node->wait_for_catchup($standby, 'replay');

$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
ok($standby->poll_query_until('postgres', 'SELECT pg_get_wal_replay_pause_state()', 'paused'), 'the replay is paused');
complains($standby, 'standby_lag warning', '... and that is said');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
comes_to_complain($standby, '', '... until it goes on');
$standby->append_conf('postgresql.conf', "recovery_min_apply_delay = '1h'\n");
$standby->reload;
$node->safe_psql('postgres', q{SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "late"}')});
comes_to_complain($standby, 'standby_lag warning', 'the replay is far behind');
$standby->append_conf('postgresql.conf', "recovery_min_apply_delay = 0\n");
$standby->reload;
comes_to_complain($standby, '', '... until it has caught up');
$node->stop;
comes_to_complain($standby, 'standby_receiver warning', 'the primary is gone');
$standby->promote;
comes_to_complain($standby, '', 'promoted: no standby any more');
$standby->stop;

is(join(' ', grep { !$seen{$_} } @all), '', 'each of the ' . scalar(@all) . ' checks was seen to complain');
done_testing();
