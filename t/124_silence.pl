# A server that hears nothing from the others says no yes after max_silence: a standby that is cut off from its primary, and a primary
# whose synchronous standbys are gone, which another may have replaced.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $settings = q{shared_preload_libraries = 'unleash_tokens'
unleash_tokens.max_silence = '4s'
wal_receiver_timeout = '6s'
wal_receiver_status_interval = '1s'
};
my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', $settings);
$primary->start;
$primary->safe_psql('postgres', q{CREATE EXTENSION unleash_tokens; CREATE TABLE kept (secret text);
	INSERT INTO kept SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "kept"}') ->> 'secret' FROM generate_series(1, 2)});
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby, 'replay');

# How many of the kept secrets are valid there, or the error.
sub count_valid
{
	my ($node) = @_;
	my (undef, $out, $err) = $node->psql('postgres', 'SELECT count(unleash_tokens.validate_api_token(secret)) FROM kept');
	return $err =~ /ERROR:\s+(.*)/ ? $1 : $out;
}

sub comes_to
{
	my ($node, $expected, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $end = time + 60;
	my $last = '';
	sleep 0.1 while ($last = count_valid($node)) ne $expected && time < $end;
	return is($last, $expected, $what);
}

# How long it goes on to give this answer, in seconds.
sub goes_on
{
	my ($node, $answer, $most) = @_;
	my $start = time;
	sleep 0.05 while count_valid($node) eq $answer && time < $start + $most;
	return time - $start;
}

sub rest
{
	my ($node, $target) = @_;
	return $node->safe_psql('postgres', qq{BEGIN; SELECT set_config('request.headers', '{"x-original-method": "GET", "x-original-uri": "$target"}', true) IS NULL;
		SELECT convert_from(unleash_tokens.rest_api(), 'UTF8'); SHOW "response.status"});
}

my $silent = 'the service is not available';
comes_to($standby, 2, 'a standby that hears its primary answers');
cmp_ok(goes_on($standby, 2, 8), '>', 8, '... also while nothing happens there');

# The connection stands, and nothing comes over it nor over a new one: as on a network that loses everything.
my $session = $primary->background_psql('postgres');
my @frozen = ($primary->safe_psql('postgres', 'SELECT pid FROM pg_stat_replication'), (split /\n/, slurp_file($primary->data_dir . '/postmaster.pid'))[0]);
kill 'STOP', @frozen;
$session->query_safe('SELECT unleash_tokens.delete_api_token(selector) FROM unleash_tokens.api_token LIMIT 1');
my $took = goes_on($standby, 2, 20);
note(sprintf 'a deleted token was accepted for %.1f s', $took);
cmp_ok($took, '<', 7, 'cut off, it accepts what was deleted no longer than that');
is(count_valid($standby), $silent, '... and says that it is not available');
like(rest($standby, '/health'), qr/UnavailableError.*Nothing was heard from the other servers.*\n(500|503)/s, '... /health too, so that nobody is sent there');
like(rest($standby, '/auth'), qr/UnavailableError/, '... and /auth, whoever asks');
is($session->query_safe('SELECT count(unleash_tokens.validate_api_token(secret)) FROM kept'), 1, '... the primary, which waits for nobody, goes on');
kill 'CONT', @frozen;
$session->quit;
comes_to($standby, 1, 'connected again, it answers as the primary does');

$primary->stop;
comes_to($standby, $silent, 'without a primary it answers no longer');
$standby->append_conf('postgresql.conf', 'unleash_tokens.max_silence = 0');
$standby->reload;
comes_to($standby, 1, '... but does where nothing is set');
$standby->append_conf('postgresql.conf', q{unleash_tokens.max_silence = '4s'});
$standby->reload;
comes_to($standby, $silent, '... and not any more');
$primary->start;
comes_to($standby, 1, '... until there is one again');

# A primary that waits for standbys is one of several, of which another may be the primary by now.
$primary->append_conf('postgresql.conf', "synchronous_standby_names = '*'");
$primary->reload;
comes_to($primary, 1, 'a primary that hears its synchronous standby answers');
cmp_ok(goes_on($primary, 1, 8), '>', 8, '... also while nothing happens');
my $receiver = $standby->safe_psql('postgres', 'SELECT pid FROM pg_stat_wal_receiver');
kill 'STOP', $receiver;
comes_to($primary, $silent, 'cut off, it answers no longer');
like(rest($primary, '/health?write=1'), qr/UnavailableError/, '... /health too');
kill 'CONT', $receiver;
comes_to($primary, 1, 'connected again, it answers');
$standby->stop;
comes_to($primary, $silent, 'without a standby it answers no longer');
$primary->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$primary->reload;
comes_to($primary, 1, '... but does when it waits for nobody');

$primary->stop;
$standby->start;
$standby->promote;
$standby->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$standby->reload;
comes_to($standby, 1, 'promoted, and waiting for nobody, a standby answers');
done_testing();
