# What the tests of guard() share: a server with a login that tokens come in by, database roles for them, and tokens.
package GuardTest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(new_guarded register new_secret selector_of);

# A running server with the library preloaded.  The login may become these roles, and inherits nothing of them.
sub new_guarded
{
	my ($login, @roles) = @_;
	my $node = PostgreSQL::Test::Cluster->new('main');

	# with collations of ICU, wherever the tests run
	$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
	$node->append_conf('postgresql.conf', "$_\n")
	  foreach "shared_preload_libraries = 'unleash_tokens'", 'max_prepared_transactions = 5', 'log_statement = none';
	$node->start;
	$node->safe_psql('postgres', join ";\n", 'CREATE EXTENSION unleash_tokens', "CREATE ROLE $login LOGIN NOINHERIT", (map { "CREATE ROLE $_ ROLE $login" } @roles),
		'GRANT USAGE ON SCHEMA unleash_tokens TO PUBLIC');
	return $node;
}

# Projects of these names.
sub register
{
	my ($node, @projects) = @_;

	$node->safe_psql('postgres', "INSERT INTO unleash_tokens.project (id) VALUES ('$_')") foreach @projects;
	return;
}

# The secret of a new token; an admin token has neither projects nor environment.
sub new_secret
{
	my ($node, $type, $name, $projects, $environment) = @_;
	my $scope = $type eq 'admin' ? '' : sprintf ', "environment": "%s", "projects": [%s]', $environment // 'development', join ', ', map { qq{"$_"} } @$projects;

	return $node->safe_psql('postgres', qq{SELECT unleash_tokens.create_api_token('{"type": "$type", "tokenName": "$name"$scope}') ->> 'secret'});
}

sub selector_of
{
	my ($secret) = @_;

	return $secret =~ /\.v2_(.{22})_/ ? $1 : '';
}

1;
