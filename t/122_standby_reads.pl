# What a standby answers while the primary has a table to itself, and what both
# answer while tables and indexes are written anew under a load: never a token
# that is gone, never an error, and always one that is valid.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $settings = "shared_preload_libraries = 'unleash_tokens'\nautovacuum = off\nmax_standby_streaming_delay = -1\n";
my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', $settings);
$primary->start;
$primary->safe_psql('postgres', q{CREATE EXTENSION unleash_tokens; INSERT INTO unleash_tokens.project (id) VALUES ('a');
	CREATE TABLE kept (secret text)});
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my %look = (
	one => 'SELECT count(unleash_tokens.validate_api_token(secret)) FROM kept',
	many => 'SELECT count(*) FROM kept, LATERAL unleash_tokens.validate_api_tokens(ARRAY[secret])',
	list => q{SELECT count(*) FROM jsonb_path_query(unleash_tokens.get_all_api_tokens(), '$.tokens[*].projects ? (@ == "a")')},
	name => q{SELECT count(*) FROM jsonb_path_query(unleash_tokens.get_api_tokens_by_name('n'), '$.tokens[*].projects ? (@ == "a")')});

sub make_token
{
	$primary->safe_psql('postgres', q{DELETE FROM unleash_tokens.api_token; TRUNCATE kept;
		INSERT INTO kept SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "n", "project": "a"}') ->> 'secret'});
	$primary->wait_for_catchup($standby, 'replay');
	return;
}

# The look-up waits on the standby for a lock that was replayed, and is answered when its holder has committed.
sub answers
{
	my ($name, $relation, $commands, $expected) = @_;
	make_token();
	my $holder = $primary->background_psql('postgres');
	my $asking = $standby->background_psql('postgres');
	is($asking->query_safe($look{$name}), 1, "$name: valid before");
	$holder->query_safe("BEGIN; $commands");
	$primary->safe_psql('postgres', 'SELECT pg_switch_wal()');
	$standby->poll_query_until('postgres',
		"SELECT count(*) > 0 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = '$relation'::regclass") or die 'no lock on the standby';
	$asking->query_until(qr/asked/, "\\echo asked\n$look{$name};\n");
	$standby->poll_query_until('postgres',
		q{SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%unleash_tokens.%' AND pid <> pg_backend_pid()}) or die 'nobody waits';
	$holder->query_safe('COMMIT');
	my $answer = $asking->query('\echo');
	$answer =~ s/\s+//g;
	is($answer, $expected, "$name: $commands");
	$holder->quit;
	$asking->quit;
	return;
}

my $tables = 'unleash_tokens.api_token';
answers($_, $tables, "LOCK TABLE $tables; DELETE FROM $tables", 0) foreach sort keys %look;
answers('one', "${tables}_project", "LOCK TABLE ${tables}_project; DELETE FROM $tables", 0);
answers('many', 'unleash_tokens.project', "LOCK TABLE unleash_tokens.project; DELETE FROM unleash_tokens.project; INSERT INTO unleash_tokens.project (id) VALUES ('a')", 0);
answers($_, "${tables}_pkey", "REINDEX INDEX ${tables}_pkey; DELETE FROM $tables", 0) foreach 'one', 'many';
answers($_, $tables, "ALTER TABLE $tables ALTER verifier TYPE bytea USING verifier || ''", 1) foreach sort keys %look;

# ---- Under load, on both at once ----

make_token();
my $script = $primary->basedir . '/look.sql';
append_to_file($script, join("\n", map { "SELECT 1 / count(*) FROM ($look{$_}) AS l (n) WHERE n = 1;" } sort keys %look) . "\n");
my @loads;
foreach my $node ($primary, $standby)
{
	my ($in, $out) = ('', '');
	push @loads, [$node->name, IPC::Run::start([ $node->installed_command('pgbench'), '-n', '-T', 6, '-c', 2, '-f', $script, '-h', $node->host, '-p', $node->port, 'postgres' ],
			'<', \$in, '>&', \$out), \$out];
}
foreach (1 .. 5)
{
	foreach my $command ((map { ("VACUUM FULL $_", "REINDEX TABLE CONCURRENTLY $_", "REINDEX TABLE $_") } $tables, "${tables}_project", 'unleash_tokens.project'),
		"CLUSTER $tables USING api_token_pkey",
		"ALTER TABLE $tables ALTER verifier TYPE bytea USING verifier || ''",
		"CREATE INDEX CONCURRENTLY again ON $tables (selector)", 'DROP INDEX CONCURRENTLY unleash_tokens.again')
	{
		$primary->safe_psql('postgres', $command);
	}
}
foreach my $load (@loads)
{
	ok($load->[1]->finish, "$load->[0]: every look-up finds the token") or diag(${ $load->[2] });
	unlike(${ $load->[2] }, qr/error:|aborted/i, "$load->[0]: without an error");
}
$standby->stop;
$primary->stop;
done_testing();
