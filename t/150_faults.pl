
# Copyright (c) 2026, unleash_tokens contributors

# Whatever stops a statement, wherever it is by then: what was answered holds,
# what was not answered is not there, or is whole, and nothing is half done.
# Without random bytes no token is made.

use strict;
use warnings;

use Config;
use FindBin;
use lib $FindBin::RealBin;

use FaultsTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UsageTest ();

my $kills = 6;

my $node = PostgreSQL::Test::Cluster->new('faults');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "$_\n") foreach "shared_preload_libraries = 'unleash_tokens'",
  'unleash_tokens.flush_interval = 1', 'restart_after_crash = on';
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION unleash_tokens;
	INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b');
	CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3600); RETURN NULL; END $$});

# ---- Stopped at a place that is known ------------------------------------------

my $kept = $node->safe_psql('postgres',
	q{SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "kept", "projects": ["a", "b"]}') ->> 'secret'});
my %statements = (
	create => q{SELECT unleash_tokens.create_api_token('{"type": "frontend", "tokenName": "lost", "projects": ["a", "b"]}')},
	update => "SELECT unleash_tokens.update_api_token('$kept', '{\"expiresAt\": \"2091-01-01T00:00:00Z\"}')",
	delete => "SELECT unleash_tokens.delete_api_token('$kept')");

# Triggers that make a statement stay where it is: [what it does, when it is there].
my @at_commit = ('at its commit', 'CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON unleash_tokens.api_token_event DEFERRABLE INITIALLY DEFERRED FOR EACH ROW');
my @after_event = ('after the event', 'CREATE TRIGGER wait AFTER INSERT ON unleash_tokens.api_token_event');
my @stages = (
	[ 'create', 'after the token', 'CREATE TRIGGER wait AFTER INSERT ON unleash_tokens.api_token' ],
	[ 'create', 'after the scope', 'CREATE TRIGGER wait AFTER INSERT ON unleash_tokens.api_token_project' ],
	[ 'create', @after_event ],
	[ 'create', @at_commit ],
	[ 'update', 'after the token', 'CREATE TRIGGER wait AFTER UPDATE OF expires_at ON unleash_tokens.api_token' ],
	[ 'update', @after_event ],
	[ 'update', @at_commit ],
	[ 'delete', 'after the token', 'CREATE TRIGGER wait AFTER DELETE ON unleash_tokens.api_token' ],
	[ 'delete', 'after the scope', 'CREATE TRIGGER wait AFTER DELETE ON unleash_tokens.api_token_project' ],
	[ 'delete', @after_event ],
	[ 'delete', @at_commit ]);

my $sleeper = q{FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%unleash_tokens.%' AND pid <> pg_backend_pid()};

sub stop_by
{
	my ($way) = @_;

	return if $way eq 'statement_timeout';
	if ($way eq 'SIGKILL')
	{
		is(kill('KILL', $node->safe_psql('postgres', "SELECT pid $sleeper")), 1, '... it is killed');
		return;
	}
	$node->safe_psql('postgres', "SELECT $way(pid) $sleeper");
	return;
}

my %says = (
	SIGKILL => qr/connection to server was lost|server closed the connection|terminating connection/,
	pg_cancel_backend => qr/canceling statement due to user request/,
	pg_terminate_backend => qr/terminating connection due to administrator command/,
	statement_timeout => qr/canceling statement due to statement timeout/);

my $before = contents($node);
foreach my $way (sort keys %says)
{
	foreach my $stage (@stages)
	{
		my ($does, $place, $trigger) = @$stage;
		my $name = "$way: $does, $place";

		# what is deferred to the commit is no part of the statement any more
		next if $way eq 'statement_timeout' && $place eq $at_commit[0];
		$node->safe_psql('postgres', "$trigger EXECUTE FUNCTION wait()");
		my $set = $way eq 'statement_timeout' ? "SET statement_timeout = '1s';\n" : '';
		my $session = start_psql($node, 'stopped', "\\set VERBOSITY verbose\n$set$statements{$does};\n");
		ok($node->poll_query_until('postgres', "SELECT count(*) = 1 $sleeper"), "$name: there it is")
		  unless $way eq 'statement_timeout';
		stop_by($way);
		$session->{run}->finish;
		UsageTest::poll_through_restart($node, 'SELECT true') or die 'the server does not come back';
		# before it is gone it holds its locks
		$node->safe_psql('postgres', 'DROP TRIGGER wait ON ' . ($trigger =~ /ON (\S+)/)[0]);
		like($session->{err}, $says{$way}, "$name: it fails");
		is($session->{out}, '', "$name: and answers nothing");
		is(contents($node), $before, "$name: nothing has changed");
		is(valid($node, [$kept]), 1, "$name: the token is valid");
	}
}
is(broken($node), '', 'no half token');

# ---- Done, and not answered ----------------------------------------------------

# A commit that waits for a standby that is not there is done, though the client
# has no answer yet: such a token exists, and nobody knows its secret.
$node->safe_psql('postgres', "ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
$node->reload;
$node->poll_query_until('postgres', 'SHOW synchronous_standby_names', 'nobody') or die 'the setting does not come';
my $session = start_psql($node, 'unanswered', "$statements{create};\n");
my $waiter = q{FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%create_api_token%' AND pid <> pg_backend_pid()};
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 $waiter"), 'answer lost: the commit is written');
is(kill('KILL', $node->safe_psql('postgres', "SELECT pid $waiter")), 1, 'answer lost: its backend is killed');
$session->{run}->finish;
is($session->{out}, '', 'answer lost: nothing was answered');
UsageTest::poll_through_restart($node, 'SELECT true') or die 'the server does not come back';
$node->safe_psql('postgres', "SET synchronous_commit = local; ALTER SYSTEM RESET synchronous_standby_names");
$node->reload;
is($node->safe_psql('postgres', q{SELECT count(*), min(projects::text) FROM unleash_tokens.api_tokens WHERE token_name = 'lost'}),
	'1|{a,b}', 'answer lost: the token is there');
is(broken($node), '', 'answer lost: whole');
$node->poll_query_until('postgres', 'SHOW synchronous_standby_names', '') or die 'the setting does not go';
is($node->safe_psql('postgres', q{SELECT unleash_tokens.delete_api_token(selector) FROM unleash_tokens.api_token WHERE token_name = 'lost'}),
	't', 'answer lost: the list names it, and its selector deletes it');

# ---- Killed at any place ---------------------------------------------------------

# The postmaster alone, whose backends go when they notice; or all processes at
# once, as when the power fails.
sub kill_server
{
	my ($whole) = @_;
	my @pids = $whole ? split /\n/, $node->safe_psql('postgres', 'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()') : ();

	$node->kill9;
	kill 'KILL', @pids;
	return;
}

# Until the last process of before has gone, the server does not start.
sub start_again
{
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 if $node->start(fail_ok => 1);
		# the file with the number of the one that was killed is still there
		$node->{_pid} = undef;
		select undef, undef, undef, 0.1;
	}
	return 0;
}

my @lines;
my $clients = 0;
foreach my $round (1 .. $kills)
{
	my $whole = $round % 2 == 0;
	my $what = 'round ' . $round . ': ' . ($whole ? 'all processes' : 'the postmaster') . ' killed';
	my @streams = map { start_stream($node, "stream $round $_", 3000) } 1 .. 4;

	read_answers(\@streams, 50 * $round);
	my $unfinished = grep { $_->{run}->pumpable } @streams;
	kill_server($whole);
	push @lines, stop_streams(\@streams);
	$clients += @streams;
	is($unfinished, 4, "$what: in the middle of four streams");
	ok(start_again(), "$what: the server starts again");
	check_answers($node, \@lines, $clients, $what);
}
is(valid($node, [$kept]), 1, 'the first token outlived it all');

# ---- Many at once ----------------------------------------------------------------

my @makers = map {
	start_psql($node, "maker $_", q{SELECT right(unleash_tokens.create_api_token('{"type": "client", "tokenName": "many"}') ->> 'secret', 66) FROM generate_series(1, 2500);})
} 1 .. 8;
my %made;
foreach my $maker (@makers)
{
	$maker->{run}->finish;
	foreach (split /\n/, $maker->{out})
	{
		my ($selector, $key) = split /_/;
		$made{selector}{$selector} = $made{key}{ substr $key, 0, 37 } = 1;
		$made{start}{ substr $key, 0, 8 } = 1;
	}
}
is(join(' ', map { scalar keys %{ $made{$_} } } qw(selector key start)), '20000 20000 20000',
	'8 sessions, each a process of its own, made 20000 tokens: no selector, no key, no beginning of a key twice');

# ---- No random bytes -------------------------------------------------------------

SKIP:
{
	my $library = $node->basedir . '/random.so';
	my $control = $node->basedir . '/random.mode';

	skip 'this PostgreSQL does not take its random bytes from OpenSSL', 1
	  unless check_pg_config('#define USE_OPENSSL 1') || check_pg_config('#define HAVE_LIBSSL 1');
	system($Config{cc} || 'cc', '-shared', '-fPIC', '-O1', "-DCONTROL=\"$control\"", '-o', $library,
		"$FindBin::RealBin/faults/random.c", '-ldl') == 0 or die 'could not build the library without random bytes';
	$node->stop;
	{
		local $ENV{LD_PRELOAD} = $library;
		$node->start;
	}

	# logins need random bytes too
	my $open = $node->background_psql('postgres', on_error_stop => 0);
	$open->set_query_timer_restart;
	$open->query_safe("\\set VERBOSITY verbose\nSET statement_timeout = '20s'");
	my %makes = (
		create => $statements{create},
		'create many' => "$statements{create} FROM generate_series(1, 20)",
		import => q{SELECT unleash_tokens.import_api_tokens('[{"secret": "*:*.4e1c1d9c", "type": "admin", "tokenName": "old", "environment": "*", "projects": ["*"]},
			{"secret": "*:development.9a8b7c6d", "type": "client", "tokenName": "old", "environment": "development", "projects": ["*"]},
			{"secret": "*:development.11112222", "type": "client", "tokenName": "old", "environment": "development", "projects": ["*"]}]')});
	$before = contents($node);
	foreach my $mode ('fails', 'stuck high', 'stuck low', 'third fails')
	{
		foreach my $make (sort keys %makes)
		{
			next if $mode eq 'third fails' && $make eq 'create';
			append_to_file($control, $mode =~ s/^stuck //r);
			$open->{stderr} = '';
			my $out = $open->query($makes{$make});
			unlink $control or die 'could not give the random bytes back';
			like($open->{stderr}, qr/ERROR:  XX000: could not generate random bytes for a secret\n/, "random bytes: $mode: $make is an error");
			is($out, '', "random bytes: $mode: $make answers nothing");
			is(contents($node), $before, "random bytes: $mode: $make stores nothing");
		}
	}
	append_to_file($control, 'fails');
	is($open->query(q{SELECT unleash_tokens.validate_api_token('} . $kept . q{') ->> 'tokenName'}), 'kept', 'without random bytes tokens are validated');
	is($open->query("SELECT unleash_tokens.update_api_token('$kept', '{\"expiresAt\": null}') ->> 'tokenName'"), 'kept', '... and changed');
	unlink $control;
	like($open->query("SELECT unleash_tokens.create_api_token('{\"type\": \"client\", \"tokenName\": \"again\"}') ->> 'secret'"), qr/_\w{43}$/,
		'when there are random bytes again, so are tokens');
	$open->quit;
	is(broken($node), '', 'no half token');
}

$node->stop;
done_testing();
