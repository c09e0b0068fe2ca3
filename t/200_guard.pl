
# Copyright (c) 2026, unleash_tokens contributors

# Nothing that can be said in SQL, and no setting anywhere, makes a reader return what no guard() of the same transaction
# has validated; and connections that many tokens share hand nothing from one to the next.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Utils;
use Test::More;
use GuardTest;

my $node = new_guarded('app', 'reader', 'writer');
register($node, map { "p$_" } 1 .. 20);
my @secrets = ('', map { new_secret($node, $_ % 2 ? 'frontend' : 'client', "t$_", ["p$_"]) } 1 .. 20);
my $selector = selector_of($secrets[2]);
$node->safe_psql('postgres', q{
	CREATE ROLE holder LOGIN;
	GRANT reader TO holder;
	GRANT CREATE ON SCHEMA public TO holder;
	SELECT unleash_tokens.set_guard_role('client', 'reader');
	SELECT unleash_tokens.set_guard_role('frontend', 'writer');
	CREATE TABLE note (id int PRIMARY KEY, project text NOT NULL);
	INSERT INTO note SELECT i, 'p' || i % 20 + 1 FROM generate_series(1, 2000) AS i;
	ALTER TABLE note OWNER TO holder;
	ALTER TABLE note ENABLE ROW LEVEL SECURITY;
	CREATE POLICY reach ON note TO reader, writer USING (project = ANY ((SELECT unleash_tokens.token_projects())::text[]));
	GRANT SELECT ON note TO reader, writer, app;
	ANALYZE note});

# ---- Forgery ----

# What all readers say, as one line; without a token it is this:
my $ask = q{SELECT concat_ws(' ', unleash_tokens.token_selector(), unleash_tokens.token_name(), unleash_tokens.token_type(), unleash_tokens.token_environment(),
	unleash_tokens.token_projects(), unleash_tokens.token_reaches('p2'), unleash_tokens.token_reaches('p2', 'development'), unleash_tokens.token_identity()) };
my $nobody = 'f f';

# Names that an implementation by settings would have.
my @names = map { "unleash_tokens.$_" } qw(identity token token_selector selector guard guard_token token_identity token_projects token_name);

sub ask
{
	my ($user, $sql, %options) = @_;
	my ($code, $out, $err) = eval { $node->psql('postgres', "$sql\n;$ask", extra_params => [ '-U', $user ], on_error_stop => 0, %options) };
	# a session that does not start says nothing either, and psql may be gone before it was sent anything
	return $nobody if $@ =~ /Broken pipe/;
	die $@ if $@;
	return $nobody if $out eq '' && $err =~ /FATAL/;
	return (split /\n/, $out)[-1] // "nothing, but $err";
}

my $superuser = $node->safe_psql('postgres', 'SELECT current_user');
my $tried = 0;
my @forged;
sub forge
{
	my ($how, $user, $sql, %options) = @_;
	my $said = ask($user, $sql, %options);
	$tried++;
	push @forged, "$how as $user: $said" if $said ne $nobody;
}

# with the library in shared_preload_libraries its names are taken from the start, without it only once it is loaded
foreach my $preloaded (1, 0)
{
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', $preloaded ? "'unleash_tokens'" : "''");
$node->restart;
foreach my $user ('app', 'holder', $superuser)
{
	foreach my $name (@names)
	{
		forge("SET $name", $user, "SET $name = '$selector'");
		forge("SET LOCAL $name", $user, "BEGIN; SET LOCAL $name = '$selector'", extra_params => [ '-U', $user, '-v', 'ON_ERROR_ROLLBACK=on' ]);
		forge("set_config $name", $user, "SELECT set_config('$name', '$selector', false)");
		forge("set_config local $name", $user, "BEGIN; SELECT set_config('$name', '$selector', true)", extra_params => [ '-U', $user, '-v', 'ON_ERROR_ROLLBACK=on' ]);
		forge("function SET $name", $user, "CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql SET $name = '$selector' AS \$\$$ask\$\$; SELECT pg_temp.f()");
		forge("DO $name", $user, "DO \$\$ BEGIN EXECUTE 'SET $name = ''$selector'''; EXCEPTION WHEN OTHERS THEN NULL; END \$\$");
		forge("placeholder before LOAD $name", $user, "SET $name = '$selector'; LOAD 'unleash_tokens'");
		forge("RESET $name", $user, "RESET $name");
		local $ENV{PGOPTIONS} = "-c $name=$selector";
		forge("PGOPTIONS $name", $user, 'SELECT 1');
	}
	forge("UPDATE pg_settings", $user, "UPDATE pg_settings SET setting = '$selector' WHERE name ~ '^unleash_tokens'");
	forge("request.*", $user, "SELECT set_config('request.jwt.claims', '{\"role\":\"reader\",\"selector\":\"$selector\"}', false), set_config('request.headers', '{\"x-token-selector\":\"$selector\"}', false)");
	forge("SECURITY DEFINER", $user, "CREATE FUNCTION pg_temp.g() RETURNS text LANGUAGE sql SECURITY DEFINER AS \$\$$ask\$\$; SELECT pg_temp.g()");
	forge("guard() with the rights of the definer", $user, "CREATE FUNCTION pg_temp.g() RETURNS text LANGUAGE sql SECURITY DEFINER AS \$\$SELECT unleash_tokens.guard('$secrets[2]'); $ask\$\$; BEGIN; SELECT pg_temp.g(); ROLLBACK");
	forge("RESET ALL", $user, 'RESET ALL');
	forge("DISCARD ALL", $user, 'DISCARD ALL');
	forge("SET ROLE", $user, 'SET ROLE reader');
	forge("a wrapper of that name", $user, "CREATE FUNCTION public.token_selector() RETURNS text LANGUAGE sql AS \$\$SELECT '$selector'\$\$; SET search_path = public, unleash_tokens");
	forge("a shadowed operator", $user, "CREATE FUNCTION pg_temp.eq(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'; SET search_path = pg_temp");
	# after a real one, in every way it can end
	my $guard = "SELECT unleash_tokens.guard('$secrets[2]')";
	forge("after COMMIT", $user, "BEGIN; $guard; COMMIT");
	forge("after ROLLBACK", $user, "BEGIN; $guard; ROLLBACK");
	forge("after an error", $user, "BEGIN; $guard; SELECT 1/0; COMMIT");
	forge("after COMMIT AND CHAIN", $user, "BEGIN; $guard; COMMIT AND CHAIN");
	forge("after ROLLBACK AND CHAIN", $user, "BEGIN; $guard; ROLLBACK AND CHAIN");
	forge("after ROLLBACK TO", $user, "BEGIN; SAVEPOINT s; $guard; ROLLBACK TO s");
	forge("after an abort in a savepoint", $user, "BEGIN; SAVEPOINT s; $guard; SELECT 1/0; ROLLBACK TO s");
	forge("after nested savepoints", $user, "BEGIN; SAVEPOINT s; SAVEPOINT t; $guard; RELEASE t; SAVEPOINT u; SELECT 1/0; ROLLBACK TO u; ROLLBACK TO s");
	forge("after PREPARE TRANSACTION", $user, "BEGIN; $guard; PREPARE TRANSACTION 'g$user'");
	forge("after a procedure that commits", $user, "CREATE PROCEDURE pg_temp.p() LANGUAGE plpgsql AS \$\$BEGIN COMMIT; END\$\$; CALL pg_temp.p()");
	forge("without a transaction", $user, $guard);
	forge("a wrong secret", $user, "BEGIN; SELECT unleash_tokens.guard('" . substr($secrets[2], 0, -1) . "'); ROLLBACK");
	forge("refused in a savepoint", $user, "BEGIN; SAVEPOINT s; SELECT unleash_tokens.guard('x'); ROLLBACK TO s");
	$node->psql('postgres', "ROLLBACK PREPARED 'g$user'");
}
}
$node->safe_psql('postgres', 'DROP FUNCTION IF EXISTS public.token_selector()');
# stored settings, with the rights of a superuser
foreach my $name (@names)
{
	foreach my $place ("ROLE app", "ROLE ALL", "DATABASE postgres", "ROLE app IN DATABASE postgres", "SYSTEM")
	{
		$node->psql('postgres', "ALTER $place SET $name = '$selector'");
		$node->reload if $place eq 'SYSTEM';
		forge("ALTER $place SET $name", 'app', 'SELECT 1');
		$node->psql('postgres', "ALTER $place RESET $name");
	}
}
my $conf = slurp_file($node->data_dir . '/postgresql.conf');
$node->append_conf('postgresql.conf', join "\n", map { "$_ = '$selector'" } @names);
$node->restart;
forge('postgresql.conf', $_, 'SELECT 1') foreach ('app', $superuser);
open my $fh, '>', $node->data_dir . '/postgresql.conf' or die $!;
print $fh $conf, "shared_preload_libraries = 'unleash_tokens'\n";
close $fh;
$node->restart;
diag("$tried ways to forge a token");
cmp_ok($tried, '>', 500, 'many ways to forge a token');
is(join("\n", @forged), '', 'none of them makes a reader say anything');

# ---- A token does not become another one ----

foreach my $change ("SET app.token = 'x'", 'RESET ALL', 'RESET ROLE', 'SET ROLE writer', 'SET SESSION AUTHORIZATION DEFAULT', 'SAVEPOINT s; RELEASE s',
	"SAVEPOINT s; SELECT unleash_tokens.guard('$secrets[3]'); ROLLBACK TO s", "SAVEPOINT s; SELECT unleash_tokens.guard('nonsense'); ROLLBACK TO s",
	"DO \$\$ BEGIN PERFORM unleash_tokens.guard('$secrets[3]'); EXCEPTION WHEN OTHERS THEN NULL; END \$\$", "SELECT unleash_tokens.guard('$secrets[2]')")
{
	my ($code, $out) = $node->psql('postgres', "BEGIN; SELECT unleash_tokens.guard('$secrets[2]'); $change; SELECT unleash_tokens.token_name(); COMMIT",
		extra_params => [ '-U', 'app' ], on_error_stop => 0);
	is((split /\n/, $out)[-1], 't2', "still the same token after: " . ($change =~ s/'[^']*\.v2[^']*'/'...'/r));
}

# ---- Plans ----

# Workers know no token: whatever is said about parallel plans, rows are those of the token.
my $debug = $node->safe_psql('postgres', q{SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')});
my $parallel = "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 4";
foreach my $mode ('off', 'on', 'regress')
{
	my ($code, $out, $err) = $node->psql('postgres', "$parallel; SET $debug = $mode; BEGIN; SELECT unleash_tokens.guard('$secrets[2]') IS NOT NULL;
		SELECT count(*), min(project), max(project) FROM note; SELECT count(*) FROM note WHERE unleash_tokens.token_name() = 't2';
		SELECT count(DISTINCT unleash_tokens.token_name() || id) FROM note; COMMIT; SELECT count(*) FROM note", extra_params => [ '-U', 'app' ]);
	is($out, "t\n100|p2|p2\n100\n100\n0", "$debug = $mode");
}
my $plan = $node->safe_psql('postgres', "$parallel; BEGIN; SELECT unleash_tokens.guard('$secrets[2]'); SET LOCAL enable_seqscan = on; EXPLAIN (COSTS off) SELECT count(*) FROM note");
like($plan, qr/Parallel Seq Scan/, 'a policy in its fast form does not keep a plan from being parallel');
# a function that lies about itself gets nothing in a worker, never something wrong
$node->safe_psql('postgres', q{CREATE FUNCTION liar() RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE AS 'BEGIN RETURN unleash_tokens.token_name(); END'});
my ($code, $said) = $node->psql('postgres', "$parallel; SET parallel_leader_participation = off; BEGIN; SELECT unleash_tokens.guard('$secrets[2]') IS NOT NULL; SELECT DISTINCT coalesce(liar(), 'nobody') FROM note; COMMIT",
	extra_params => [ '-U', 'app' ]);
like($said, qr/^t\n(nobody|t2)$/, 'a function that is called PARALLEL SAFE, but is not');

# One prepared statement, two tokens, one plan for all executions.
foreach my $mode ('force_generic_plan', 'force_custom_plan', 'auto')
{
	my $sql = "SET plan_cache_mode = $mode; PREPARE mine AS SELECT unleash_tokens.token_name() || ' ' || count(*) || ' ' || coalesce(min(project), '-') FROM note;";
	$sql .= "BEGIN; SELECT unleash_tokens.guard('$secrets[$_]') - ARRAY['selector','projects','environment','type','expiresAt','tokenName']; EXECUTE mine; COMMIT;" foreach (2, 3, 4, 2, 5, 2, 2, 3);
	($code, my $out) = $node->psql('postgres', $sql, extra_params => [ '-U', 'app' ]);
	is(join(',', grep { $_ ne '{}' } split /\n/, $out), join(',', map { "t$_ 100 p$_" } (2, 3, 4, 2, 5, 2, 2, 3)), "one statement for many tokens, $mode");
}
$node->safe_psql('postgres', 'CREATE INDEX ON note (project); ANALYZE note');
$plan = $node->safe_psql('postgres', "SET enable_seqscan = off; BEGIN; SELECT unleash_tokens.guard('$secrets[2]'); EXPLAIN (COSTS off) SELECT * FROM note");
like($plan, qr/note_project_idx/, 'a policy in its fast form goes by the index');

# ---- Shared connections ----

# 10,000 transactions of 20 tokens in random order over 4 connections, ended in every way, in pieces so that they interleave.
my $steps = $ENV{GUARD_STEPS} || 10000;
srand(4);
my @expected = map { [] } 1 .. 4;
my @scripts = map { "SET plan_cache_mode = auto; PREPARE mine AS SELECT count(*) FROM note;\n" } 1 .. 4;
my $line = q{SELECT concat_ws(' ', unleash_tokens.token_name(), unleash_tokens.token_projects(), current_user, current_setting('statement_timeout'))};
$node->safe_psql('postgres', q{ALTER ROLE reader SET statement_timeout = '71s'; ALTER ROLE writer SET statement_timeout = '72s'});
for my $step (1 .. $steps)
{
	my $c = int rand 4;
	my $t = 1 + int rand 20;
	my $who = sprintf 't%d {p%d} %s', $t, $t, $t % 2 ? 'writer 72s' : 'reader 71s';
	my $guard = "DO \$\$ BEGIN PERFORM unleash_tokens.guard('$secrets[$t]'); END \$\$";
	my $end = (qw(COMMIT ROLLBACK COMMIT ROLLBACK))[ int rand 4 ];
	my ($sql, @said) = @{ (
		[ "BEGIN; $guard; $line; EXECUTE mine; $end;", $who, 100 ],
		[ "BEGIN; SAVEPOINT a; $guard; $line; ROLLBACK TO a; $line; $end;", $who, 'app 0' ],
		[ "BEGIN; SAVEPOINT a; $guard; RELEASE a; $line; EXECUTE mine; $end;", $who, 100 ],
		[ "BEGIN; $guard; $line; COMMIT AND CHAIN; $line; ROLLBACK;", $who, 'app 0' ],
		[ "BEGIN; $guard; SELECT 1/0; $line; COMMIT; $line;", 'app 0' ],
		[ "BEGIN READ ONLY; $guard; $line; EXECUTE mine; COMMIT;", $who, 100 ],
		[ "BEGIN ISOLATION LEVEL SERIALIZABLE; $guard; EXECUTE mine; $line; COMMIT; $line;", 100, $who, 'app 0' ],
		[ "$line; EXECUTE mine;", 'app 0', 0 ])[ int rand 8 ] };
	$scripts[$c] .= "$sql\n";
	push @{ $expected[$c] }, @said;
}
my @runs;
foreach my $c (0 .. 3)
{
	my %run = (in => $scripts[$c], out => '', err => '');
	$run{handle} = IPC::Run::start([ 'psql', '-XAtq', '-U', 'app', '-d', $node->connstr('postgres') ], '<', \$run{in}, '>', \$run{out}, '2>', \$run{err},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default * 2));
	push @runs, \%run;
}
foreach my $c (0 .. 3)
{
	my $run = $runs[$c];
	$run->{handle}->finish;
	my @got = split /\n/, $run->{out};
	my @want = @{ $expected[$c] };
	my $wrong = abs(@got - @want);
	for my $i (0 .. $#want) { $wrong++ if !defined $got[$i] || $got[$i] ne $want[$i]; }
	is($wrong, 0, sprintf 'connection %d: %d answers, each of its own token', $c + 1, scalar @want);
	my @others = grep { !/division by zero|current transaction is aborted/ } split /\n/, $run->{err};
	is(join("\n", @others), '', '... and no other error');
}
diag("$steps transactions of 20 tokens over 4 connections");

# ---- The log ----

my $before = -s $node->logfile;
my ($out, $err);
# what becomes of the role, what the log says of it, and how it is undone
my @faults = (
	[ 'ALTER ROLE reader SUPERUSER', 'It is a superuser.', 'ALTER ROLE reader NOSUPERUSER' ],
	[ 'ALTER ROLE reader BYPASSRLS', 'It bypasses row security.', 'ALTER ROLE reader NOBYPASSRLS' ],
	[ 'ALTER ROLE reader RENAME TO renamed', 'The role does not exist.', 'ALTER ROLE renamed RENAME TO reader' ],
	[ q{CREATE ROLE gone ROLE app; SELECT unleash_tokens.set_guard_role('client', 'gone'); DROP ROLE gone}, 'The role does not exist.', q{SELECT unleash_tokens.set_guard_role('client', 'reader')}, 'gone' ],
	[ 'CREATE ROLE unleash_tokens_admin; GRANT unleash_tokens_admin TO reader', 'It is a member of role "unleash_tokens_admin".  It manages the tokens.', 'DROP ROLE unleash_tokens_admin' ],
	[ 'GRANT pg_read_all_data TO reader', 'It is a member of role "pg_read_all_data".  It is a role of the server.', 'REVOKE pg_read_all_data FROM reader' ],
	[ 'CREATE ROLE mighty BYPASSRLS; ALTER ROLE reader NOINHERIT; GRANT mighty TO reader', 'It is a member of role "mighty".  It bypasses row security.', 'DROP ROLE mighty; ALTER ROLE reader INHERIT' ],
	[ 'REVOKE reader FROM app', 'The user of the session may not set it.', 'GRANT reader TO app' ]);
# 16 and later: a membership without SET
push @faults, [ 'REVOKE reader FROM app; GRANT reader TO app WITH SET FALSE', 'The user of the session may not set it.', 'GRANT reader TO app WITH SET TRUE' ] if $node->pg_version >= 16;
my $log;
foreach my $fault (@faults)
{
	my ($change, $said, $undo, $role) = @$fault;
	$role //= 'reader';
	my $from = -s $node->logfile;
	$node->safe_psql('postgres', $change);
	($code, $out, $err) = $node->psql('postgres', "BEGIN; SELECT unleash_tokens.guard('$secrets[2]')", extra_params => [ '-U', 'app', '-v', 'VERBOSITY=verbose' ]);
	$node->safe_psql('postgres', $undo);
	$node->wait_for_log(qr/cannot run as role/, $from);
	$log = slurp_file($node->logfile, $from);
	like($log, qr/token $selector cannot run as role "$role": \Q$said\E/, "$change: the log names token, role and fault");
	like($log, qr/The row of unleash_tokens\.guard_role has type client, environment NULL and project NULL\./, '... and the row');
	like($err, qr/42501: the API token has no role in this database/, 'the client hears that there is none');
	unlike($err, qr/reader|gone|mighty|admin|bypass|superuser/i, '... and not which');
	unlike($log, qr/\Q$secrets[2]\E/, 'no secret in the log, though the statement held it');
}
# one that inherits nothing is as good as another
$node->safe_psql('postgres', 'ALTER ROLE reader NOINHERIT');
is($node->safe_psql('postgres', "BEGIN; SELECT unleash_tokens.guard('$secrets[2]') IS NOT NULL; SELECT current_user", extra_params => [ '-U', 'app' ]), "t\nreader", 'a role with NOINHERIT');
$node->safe_psql('postgres', 'REVOKE reader FROM app');
($code, $out, $err) = $node->psql('postgres', "SET client_min_messages = debug1; BEGIN; SELECT unleash_tokens.guard('$secrets[2]')", extra_params => [ '-U', 'app' ]);
unlike($err, qr/reader/, 'nor when it wants to hear everything');
$node->psql('postgres', "SELECT unleash_tokens.guard('$secrets[2]')", extra_params => [ '-U', 'app' ]);
$node->psql('postgres', "BEGIN; DO \$\$ BEGIN PERFORM unleash_tokens.guard('$secrets[2]'); PERFORM unleash_tokens.guard('$secrets[3]'); END \$\$", extra_params => [ '-U', $superuser ]);
unlike(slurp_file($node->logfile, $before), qr/\.v2_[A-Za-z0-9]{22}_[A-Za-z0-9]{43}/, 'no refusal brings a secret into the log');

$node->stop;
done_testing();
