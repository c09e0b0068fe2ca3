# What the server's log quotes of a text that is no JSON: nothing where log_error_verbosity is terse, in any of its formats.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'unleash_tokens'
logging_collector = on
log_destination = 'stderr,csvlog,jsonlog'
log_directory = 'log'
log_filename = 'server.log'
log_min_error_statement = panic
log_statement = none
CONF
$node->start;

# The names of the logs that have a text.  The collector has written a line when a later one is there.
my $marks = 0;
sub logs_with
{
	my ($text) = @_;
	my $mark = 'mark ' . ++$marks;
	my %found;

	$node->psql('postgres', qq{DO 'BEGIN RAISE LOG ''$mark''; END'});
	foreach my $end ('log', 'csv', 'json')
	{
		my $file = $node->data_dir . "/log/server.$end";
		$node->poll_query_until('postgres', qq{SELECT pg_read_file('log/server.$end') LIKE '%$mark%'}) or die "no mark in $file";
		$found{$end} = 1 if slurp_file($file) =~ /\Q$text\E/;
	}
	return join(' ', sort keys %found);
}

sub send_json
{
	my ($text, $verbosity) = @_;
	my (undef, undef, $stderr) = $node->psql('postgres', qq{SET log_error_verbosity = $verbosity; SELECT '{"name":"$text","x":"\\u0000"}'::jsonb});

	like($stderr, qr/\Q$text\E/, "the client is shown what stands before the fault ($verbosity)");
	return;
}

send_json('shown before the fault', 'default');
is(logs_with('shown before the fault'), 'csv json log', 'every log quotes it when it is not terse');
send_json('kept from the logs', 'terse');
is(logs_with('kept from the logs'), '', 'no log quotes it when it is terse');
is(logs_with('unsupported Unicode escape sequence'), 'csv json log', '... but says what is wrong');
$node->psql('postgres', q{SET log_error_verbosity = terse; DO $$BEGIN RAISE 'other' USING DETAIL = 'other detail'; END$$});
is(logs_with('other detail'), 'csv json', 'errors of others are written as the server does it');

$node->stop;
done_testing();
