
# Copyright (c) 2026, unleash_tokens contributors

# The disk is full, once the one of the tables and once the one of the WAL: what
# was answered holds, what was refused is not there, and tokens are validated as
# long as the server runs.  With room again everything goes on.
#
# $SMALL_DISK is a file system of a few megabytes that is this test's own.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/..";

use FaultsTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $disk = $ENV{SMALL_DISK} or die 'SMALL_DISK is not set';

# Takes all room but so many kilobytes; give_room() gives it back.
sub take_room
{
	my ($left) = @_;
	my $block = "\0" x 4096;
	my $room = room() - $left;

	open(my $file, '>>', "$disk/filler") or die "could not write $disk/filler: $!";
	while ($room >= 4)
	{
		last unless defined syswrite($file, $block);
		$room -= 4;
	}
	close $file;
	return;
}
sub give_room { unlink "$disk/filler" or die "could not remove $disk/filler: $!"; return; }
sub room { return (split ' ', (split /\n/, `df -kP $disk`)[-1])[3]; }

my @settings = ("shared_preload_libraries = 'unleash_tokens'", 'unleash_tokens.flush_interval = 1', 'restart_after_crash = off', 'autovacuum = off', 'log_statement = none');

# Makes tokens until one is refused; returns the secrets that were answered.
sub make_until_refused
{
	my ($node, $database, $name, $most) = @_;
	my $stream = start_psql($node, $name =~ s/\W/_/gr,
		qq{\\set VERBOSITY verbose\nSELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "stream $name", "projects": ["a", "b"]}') ->> 'secret';\n} x $most, $database);
	eval { $stream->{run}->finish; };
	return ($stream->{err}, $stream->{out} =~ /^(\S+\.v2_\w{22}_\w{43})$/mg);
}

# The server has gone down by itself; the node is told so.
sub wait_for_end
{
	my ($node) = @_;
	my $file = $node->data_dir . '/postmaster.pid';
	my $pid = -e $file ? (split /\n/, slurp_file($file))[0] : undef;

	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		last unless defined $pid && kill 0, $pid;
		select undef, undef, undef, 0.1;
	}
	$node->kill9;
	return;
}

# ---- The tables ------------------------------------------------------------------

my $node = PostgreSQL::Test::Cluster->new('heap');
$node->init;
$node->append_conf('postgresql.conf', "$_\n") foreach @settings;
$node->start;
mkdir "$disk/space" or die "could not make $disk/space: $!";
$node->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '$disk/space'");
$node->safe_psql('postgres', 'CREATE DATABASE small TABLESPACE small');
$node->safe_psql('small', q{CREATE EXTENSION unleash_tokens; INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b')});
my @secrets = split /\n/, $node->safe_psql('small',
	q{SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "before"}') ->> 'secret' FROM generate_series(1, 50)});

foreach my $round (1 .. 8)
{
	# a page more each time: another table or index is the one that cannot grow
	take_room(8 * $round);
	my ($error, @made) = make_until_refused($node, 'small', "heap $round", 2000);
	push @secrets, @made;
	like($error, qr/ERROR:  53100: could not extend file/, "heap, round $round: " . @made . ' tokens are made, then the disk is full, which is told');
	my ($status, undef, $stderr) = $node->psql('small', qq{SELECT unleash_tokens.import_api_tokens((SELECT jsonb_agg(jsonb_build_object('secret', '*:development.' || i, 'type', 'client',
		'tokenName', 'many', 'environment', 'development', 'projects', '["*"]'::jsonb)) FROM generate_series(1, 2000) AS i))});
	ok($status != 0 && $stderr =~ /could not extend file/, "heap, round $round: so many are not imported");
	is(broken($node, 'small'), '', "heap, round $round: no half token");
	is(valid($node, \@secrets, 'small'), scalar @secrets, "heap, round $round: all tokens that were answered are validated");
	is($node->safe_psql('small', q{SELECT count(*) FROM unleash_tokens.api_token}), scalar @secrets, "heap, round $round: and there are no others");
	give_room();
	($error, @made) = make_until_refused($node, 'small', "heap $round again", 20);
	push @secrets, @made;
	is("$error" . @made, '20', "heap, round $round: with room again tokens are made");
}

# The times of use wait until there is room: an update of every row needs much of it.
$node->safe_psql('small', 'VACUUM FULL unleash_tokens.api_token');
take_room(0);
is(valid($node, \@secrets, 'small'), scalar @secrets, 'no room at all: all are validated');
give_room();
ok($node->poll_query_until('small', 'SELECT count(*) = 0 FROM unleash_tokens.api_token WHERE seen_at IS NULL'),
	'with room again the times of use are written');
is(broken($node, 'small'), '', 'no half token');
$node->stop;
$node->start;
is(valid($node, \@secrets, 'small'), scalar @secrets, 'all are valid after a restart');
# its tablespace is on this disk
$node->stop('immediate');
$node->clean_node;
system('rm', '-rf', "$disk/space") == 0 or die 'could not empty the disk';

# ---- The WAL ---------------------------------------------------------------------

$node = PostgreSQL::Test::Cluster->new('wal');
mkdir "$disk/wal" or die "could not make $disk/wal: $!";
$node->init(extra => [ '--waldir', "$disk/wal/pg_wal", '--wal-segsize', '1' ]);
$node->append_conf('postgresql.conf', "$_\n") foreach @settings, 'min_wal_size = 2MB', 'max_wal_size = 1GB', 'wal_recycle = off', 'checkpoint_timeout = 1h', 'full_page_writes = on';
$node->start;
$node->safe_psql('postgres', q{CREATE EXTENSION unleash_tokens; INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b'); CHECKPOINT});
@secrets = split /\n/, $node->safe_psql('postgres',
	q{SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "before"}') ->> 'secret' FROM generate_series(1, 50)});

foreach my $round (1 .. 4)
{
	my $offset = -s $node->logfile;

	take_room(200 * $round);
	my ($error, @made) = make_until_refused($node, 'postgres', "wal $round", 20000);
	push @secrets, @made;
	like($error, qr/server closed the connection|terminating connection|connection to server was lost|PANIC/, "WAL, round $round: " . @made . ' tokens are made, then the server goes down');
	ok(slurp_file($node->logfile, $offset) =~ /PANIC: .*No space left on device/, "WAL, round $round: because the disk is full, which is logged");
	wait_for_end($node);
	# while the disk is full it may start or not
	$node->start(fail_ok => 1) && $node->stop('immediate');
	give_room();
	$node->start;
	is(broken($node), '', "WAL, round $round: no half token");
	is(valid($node, \@secrets), scalar @secrets, "WAL, round $round: all tokens that were answered are validated");
	my $lost = $node->safe_psql('postgres', q{SELECT count(*) FROM unleash_tokens.api_token}) - @secrets;
	ok($lost == 0 || $lost == 1, "WAL, round $round: at most one was made and not answered");
	my %known = map { /\.v2_(\w{22})_/ ? ($1 => 1) : () } @secrets;
	foreach my $selector (split /\n/, $node->safe_psql('postgres', 'SELECT selector FROM unleash_tokens.api_token'))
	{
		$node->safe_psql('postgres', "SELECT unleash_tokens.delete_api_token('$selector')") unless $known{$selector};
	}
	($error, @made) = make_until_refused($node, 'postgres', "wal $round again", 20);
	push @secrets, @made;
	is("$error" . @made, '20', "WAL, round $round: tokens are made");
	$node->safe_psql('postgres', 'CHECKPOINT');
}

$node->stop;
done_testing();
