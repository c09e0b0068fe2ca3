
# Copyright (c) 2026, unleash_tokens contributors

# The statements of doc/troubleshooting.md can be run as they stand there, and what it says of settings is so.

use strict;
use warnings;

use FindBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('troubles');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'unleash_tokens'\nmax_replication_slots = 0\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION unleash_tokens');
$node->safe_psql('postgres', slurp_file("$FindBin::RealBin/../http/roles.sql"));

my $text = slurp_file("$FindBin::RealBin/../doc/troubleshooting.md");
my @statements = $text =~ /[`"]((?:SELECT|SHOW|ALTER|REVOKE|REINDEX|NOTIFY|GRANT)\b[^`"]*)[`"]/g;
my %seen;

foreach my $statement (grep { !$seen{$_}++ } @statements)
{
	# what is left to the reader
	next if $statement =~ /(?<!')\.\.\.(?!')/ || $statement =~ /ALTER SYSTEM SET unleash_tokens.primary_conninfo/;

	# an update to the version that is there, and a replay on no standby
	my $may = $statement =~ /pg_wal_replay_resume/ ? qr/recovery is not in progress/ : qr/^(NOTICE:.*|)$/s;
	my ($status, $out, $error) = $node->psql('postgres', $statement);
	$error = '' if $status == 0;
	like($error, $may, $statement);
}
cmp_ok(scalar keys %seen, '>', 35, 'there were many');

$node->safe_psql('postgres', 'ALTER SYSTEM RESET ALL');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->restart;
my ($status, $out, $error) = $node->psql('postgres', 'SELECT unleash_tokens.library_version(); SHOW unleash_tokens.usage_slots');
like($error, qr/unrecognized configuration parameter "unleash_tokens.usage_slots"/, 'without the library preloaded a setting is not there, as the document says');
like($node->safe_psql('postgres', 'SELECT hint FROM unleash_tokens.doctor() WHERE check_name = \'preload\''), qr/shared_preload_libraries/, '... and doctor() says why');

done_testing();
