# A standby whose primary is named by a name, and no server of names answers: it
# stops all the same, and soon.  bash puts the servers in place.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/..";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $most = 15;    # seconds; by its defaults the resolver takes 30

my $node = PostgreSQL::Test::Cluster->new('resolver');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "$_\n") foreach "shared_preload_libraries = 'unleash_tokens'", 'unleash_tokens.flush_interval = 1',
  "unleash_tokens.primary_conninfo = 'host=primary.example.org user=x'";
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION unleash_tokens');
$node->stop;
append_to_file($node->data_dir . '/standby.signal', '');
$node->start;
is($node->safe_psql('postgres', q{SELECT unleash_tokens.note_usage(ARRAY[repeat('x', 22)], ARRAY[clock_timestamp()])}), 1, 'a standby has a note to send');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'unleash_tokens flush worker'}),
	'its worker asks where the primary is');
my $begin = time;
$node->stop('fast');
my $took = time - $begin;
cmp_ok($took, '<', $most, sprintf 'the standby stops before the resolver would give up by itself: %.1f s', $took);

done_testing();
