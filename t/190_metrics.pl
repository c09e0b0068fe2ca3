
# Copyright (c) 2026, unleash_tokens contributors

# metrics(): what it says is so, on a primary, a standby and without the library preloaded; it is counted in the background,
# for who asks and as often as it may.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use UsageTest;

# The metrics as name{labels} => value.
sub metrics
{
	my ($server, $database, $role) = @_;
	my $text = $server->safe_psql($database // 'postgres', ($role ? "SET ROLE $role; " : '') . 'SELECT unleash_tokens.metrics()');

	return map { /^unleash_tokens_(\S+) (\S+)$/ ? ($1, $2) : () } split /\n/, $text;
}

# Ask until there is a value that will do.
sub comes_to
{
	my ($server, $name, $expected, $what, $database) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my %found;

	for (1 .. 1200)
	{
		%found = metrics($server, $database);
		last if defined $found{$name} && $found{$name} eq $expected;
		select(undef, undef, undef, 0.1);
	}
	is($found{$name}, $expected, $what);
	return %found;
}

my $node = new_server('metrics', 'wal_level = replica', 'max_wal_senders = 5', 'log_lock_waits = on', 'deadlock_timeout = 10ms');
$node->safe_psql('postgres', q{
	SELECT unleash_tokens.create_api_token(jsonb_build_object('type', type, 'tokenName', type || i, 'expiresAt', expires))
	FROM (VALUES ('client', NULL), ('client', now() + interval '12 hours'), ('backend', now() + interval '3 days'), ('frontend', now() + interval '20 days'),
		('admin', now() + interval '100 days'), ('admin', now() - interval '1 day'), ('client', now() - interval '1 year')) AS t (type, expires),
		generate_series(1, 3) AS i});
make_tokens($node, 5);
validate($node, 1, 5);
$node->safe_psql('postgres', q{SELECT unleash_tokens.validate_api_token(s) FROM unnest(ARRAY['nothing', '*:*.v2_AAAAAAAAAAAAAAAAAAAAAA_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB']) AS s});

# ---- The server ----------------------------------------------------------------

my %first = metrics($node);
is($first{'validations_total'}, 5, 'validations');
my $stat = stat_of($node, 'refused_malformed, refused_unknown, refused_expired, refused_scopeless, refused_elsewhere, refused_rate, refused_uncounted');
is(join('|', map { $first{"refusals_total{reason=\"$_\"}"} } qw(malformed unknown expired scopeless elsewhere rate uncounted)), $stat, 'refusals by reason, as the view stat has them');
is($first{'notes_held'}, 5, 'notes that are held');
ok($first{'notes_lag_seconds'} > 0 && $first{'notes_lag_seconds'} < 100, 'for how long');
is("$first{'preloaded'} $first{'in_recovery'} $first{'launcher_up'} $first{'notes_dropped_total'}", '1 0 1 0', 'what runs');
ok((grep { /^build_info\{version="\d+\.\d+",postgresql="\d+/ } keys %first), 'and what that is');
ok(!(grep { /^(tokens|doctor)/ } keys %first), 'what was not counted yet has no line, rather than a zero');

# ---- The database --------------------------------------------------------------

my %counted = comes_to($node, 'tokens{type="client",state="valid"}', 11, 'tokens are counted, since somebody has asked');
my $same = q{SELECT string_agg(format('tokens{type="%s",state="%s"} %s', y.type, s.state, (SELECT count(*) FROM unleash_tokens.api_tokens AS t
		WHERE t.type = y.type AND s.state = CASE WHEN t.expires_at <= now() THEN 'expired' ELSE coalesce(t.rotation, 'valid') END)), ', ' ORDER BY y.type, s.state)
	FROM unnest(ARRAY['admin', 'backend', 'client', 'frontend']) AS y (type), unnest(ARRAY['expired', 'grace', 'pending', 'valid']) AS s (state)};
sub shows_tokens { my %all = @_; return join ', ', map { "$_ $all{$_}" } sort { my ($x, $y) = map { /type="(\w+)",state="(\w+)"/; "$1 $2" } $a, $b; $x cmp $y } grep { /^tokens\{/ } keys %all; }
is(shows_tokens(%counted), $node->safe_psql('postgres', $same), 'by type and state, as the view has them');
is(join(' ', map { $counted{"tokens_expiring{days=\"$_\"}"} } 1, 7, 30), '3 6 9', 'and those that expire soon');
ok($counted{'tokens_age_seconds'} < 100 && $counted{'tokens_count_duration_seconds'} < 10, 'how old the numbers are, and what they took');

my $doctor = q{SELECT string_agg(format('%s %s', s, (SELECT count(*) FROM unleash_tokens.doctor() AS d WHERE d.status = s)), ', ' ORDER BY s)
	FROM unnest(ARRAY['error', 'ok', 'unknown', 'warning']) AS s};
my $found = $node->safe_psql('postgres', $doctor);
my ($warnings) = $found =~ /warning (\d+)/;
my %checked = comes_to($node, 'doctor_checks{status="warning"}', $warnings, 'the checks of doctor() are counted');
is(join(', ', map { "$_ $checked{qq(doctor_checks{status=\"$_\"})}" } qw(error ok unknown warning)), $found, 'by status, as doctor() says itself to a superuser');

# ---- Not more often than it may, and not for nobody ----------------------------

my $runs = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'unleash_tokens flush worker'};
$node->poll_query_until('postgres', $runs, '0');
my $log = -s $node->logfile;
%counted = metrics($node);
my %again = metrics($node);
ok($again{'tokens_age_seconds'} > $counted{'tokens_age_seconds'} || $counted{'tokens_age_seconds'} > 9, 'who asks twice gets the same count') or diag explain(\%again);
$node->safe_psql('postgres', q{
	SELECT unleash_tokens.rotate_api_token(selector) FROM unleash_tokens.api_tokens WHERE token_name IN ('token 1', 'token 2');
	SELECT unleash_tokens.delete_api_token(selector) FROM unleash_tokens.api_tokens WHERE token_name = 'token 3'});
%counted = comes_to($node, 'tokens{type="client",state="pending"}', 2, 'ten seconds later it is counted anew');
is($counted{'tokens{type="client",state="valid"}'}, 8, '... what was deleted is gone');
is(slurp_file($node->logfile, $log) =~ /ERROR|WARNING/, '', 'the log says nothing');

# ---- What is in the way --------------------------------------------------------

# nobody has asked in the last database by the time the first is counted
$node->safe_psql('postgres', 'CREATE DATABASE other; CREATE DATABASE dropped');
$node->safe_psql($_, 'CREATE EXTENSION unleash_tokens; SELECT unleash_tokens.metrics()') foreach 'other', 'dropped';
$node->safe_psql('postgres', 'DROP DATABASE dropped');
comes_to($node, 'tokens{type="admin",state="valid"}', 0, 'each database has its own numbers', 'other');
# at once: a worker that finds no extension forgets the numbers
$node->safe_psql('other', 'BEGIN; DROP EXTENSION unleash_tokens; CREATE EXTENSION unleash_tokens; COMMIT');
make_tokens($node, 2, 'other');
my $blocker = new_session($node, 'other');
$blocker->query_safe('BEGIN; LOCK unleash_tokens.api_token');
my $before = -s $node->logfile;
my $errors = $node->safe_psql('postgres', q{SELECT count(last_error) FROM unleash_tokens.stat});
# that of a database that was dropped meanwhile may have failed
my %whole = metrics($node, 'other');
# once ten seconds have passed since the last count, a worker waits for half a second for the lock: too short to be looked for
my $waited = qr/still waiting for AccessShareLock on relation/;
for (1 .. 600)
{
	metrics($node, 'other');
	last if slurp_file($node->logfile, $before) =~ $waited;
	select(undef, undef, undef, 0.05);
}
like(slurp_file($node->logfile, $before), $waited, 'a count waits for a locked table');
my $waits = q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'unleash_tokens flush worker' AND wait_event_type = 'Lock')};
ok($node->poll_query_until('postgres', $waits, 'f'), '... and gives up');
unlike(slurp_file($node->logfile, $before), qr/ERROR/, '... which is no error');
is($node->safe_psql('postgres', 'SELECT count(last_error) FROM unleash_tokens.stat'), $errors, '... anywhere');
my %failed = metrics($node, 'other');
is($failed{'tokens{type="client",state="valid"}'}, 0, '... what was counted before is shown, with its age');
is($failed{'failing_databases'}, $whole{'failing_databases'}, '... and it is no failure of a flush');
$blocker->query_safe('COMMIT');
$blocker->quit;

# ---- Who may -------------------------------------------------------------------

$node->safe_psql('postgres', 'CREATE ROLE watcher LOGIN; CREATE ROLE unleash_tokens_monitor; GRANT unleash_tokens_monitor TO watcher;
	GRANT USAGE ON SCHEMA unleash_tokens TO unleash_tokens_monitor; GRANT EXECUTE ON FUNCTION unleash_tokens.metrics() TO unleash_tokens_monitor');
my %watched = metrics($node, 'postgres', 'watcher');
is($watched{'validations_total'}, 5, 'a role without any other right may be let in');
is($node->psql('postgres', 'CREATE ROLE nobody; SET ROLE nobody; SELECT unleash_tokens.metrics()'), 3, 'nobody is by himself');

# ---- A standby -----------------------------------------------------------------

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('metrics_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay');
validate_one($standby, 4);
my %alone = comes_to($standby, 'tokens{type="client",state="pending"}', 2, 'a standby that does not know its primary counts too');
is("$alone{'in_recovery'} $alone{'validations_total'} $alone{'notes_held'}", '1 1 1', '... what happened there');
ok($alone{'notes_lag_seconds'} > 0, '... and says that its notes wait');
$standby->append_conf('postgresql.conf', sprintf "unleash_tokens.flush_interval = 1\nunleash_tokens.primary_conninfo = 'host=%s port=%d user=%s'\n",
	$node->host, $node->port, $node->safe_psql('postgres', 'SELECT current_user'));
$standby->reload;
%alone = comes_to($standby, 'notes_held', 0, 'one that does sends them');
is($alone{'notes_lag_seconds'}, '0.000000', '... and nothing waits');
ok($alone{'last_flush_timestamp_seconds'} > 1.7e9, '... and when that was');
$standby->stop;

# ---- Without shared memory -----------------------------------------------------

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->restart;
my $text = $node->safe_psql('postgres', 'SELECT unleash_tokens.metrics()');
like($text, qr/^unleash_tokens_preloaded 0$/m, 'without the library preloaded it says so');
like($text, qr/^# unleash_tokens is not in shared_preload_libraries/m, '... and why there is nothing else');
unlike($text, qr/validations|tokens\{/, '... which is left out');

done_testing();
