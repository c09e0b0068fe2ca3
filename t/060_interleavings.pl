# Deleted, expired, changed: the very next call sees it, on any connection and
# inside any transaction, however old its snapshot is.  Ten thousand steps in a
# random order from a fixed seed, against a model of what must be answered.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $steps = 10_000;
my $tokens = 8;

my $node = PostgreSQL::Test::Cluster->new('interleavings');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION unleash_tokens');
$node->safe_psql('postgres',
	q{INSERT INTO unleash_tokens.project (id) VALUES ('a'), ('b')});

# Writers commit each call; readers sit in transactions that are renewed seldom.
my @writers = map { $node->background_psql('postgres') } 1 .. 2;
my %begin = (
	'autocommit' => undef,
	'read committed' => 'BEGIN ISOLATION LEVEL READ COMMITTED',
	'repeatable read' => 'BEGIN ISOLATION LEVEL REPEATABLE READ',
	'serializable' => 'BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY',
	'read only' => 'BEGIN READ ONLY');
my @levels = sort keys %begin;
my %reader = map { $_ => $node->background_psql('postgres') } @levels;

sub renew
{
	my ($level) = @_;
	return unless defined $begin{$level};
	# a query fixes the snapshot of the transaction
	$reader{$level}->query_safe("COMMIT; $begin{$level}; SELECT count(*) FROM unleash_tokens.api_tokens");
	return;
}
# the time a session has is for each query: a slow machine may take long for all
$_->set_query_timer_restart foreach @writers, values %reader;
$reader{$_}->query_safe('SET client_min_messages = error') foreach @levels;
renew($_) foreach @levels;

srand(20261123);
my @model;    # each {secret, selector, alive, projects}
my (%asked, %wrong);

sub writer { return $writers[ int rand @writers ]; }

sub create
{
	my ($i) = @_;
	my ($secret, $selector) = split /\|/, writer()->query_safe(
		q{SELECT t ->> 'secret', split_part(split_part(t ->> 'secret', '.v2_', 2), '_', 1)
		  FROM unleash_tokens.create_api_token('{"type": "client", "tokenName": "t", "projects": ["a", "b"]}') AS t});
	$model[$i] = { secret => $secret, selector => $selector, alive => 1, projects => 'a,b' };
	return;
}

sub expire
{
	my ($i, $when) = @_;
	my $expiry = $when ? '"2001-01-01T00:00:00Z"' : 'null';
	writer()->query_safe("SELECT unleash_tokens.update_api_token('$model[$i]{selector}', '{\"expiresAt\": $expiry}')");
	$model[$i]{alive} = !$when;
	return;
}

sub delete_token
{
	my ($i) = @_;
	writer()->query_safe("SELECT unleash_tokens.delete_api_token('$model[$i]{secret}')");
	# the dead one is asked for once more by every reader, then its place is taken
	ask($_, $i, '') foreach @levels;
	create($i);
	return;
}

sub narrow
{
	my ($i) = @_;
	writer()->query_safe("DELETE FROM unleash_tokens.api_token_project WHERE selector = '$model[$i]{selector}' AND project = 'a'");
	$model[$i]{projects} =~ s/^a,//;
	return;
}

sub ask
{
	my ($level, $i, $expected) = @_;
	my $one = rand() < 0.5;
	my $answer = $reader{$level}->query_safe($one
		? "SELECT array_to_string(ARRAY(SELECT jsonb_array_elements_text(unleash_tokens.validate_api_token('$model[$i]{secret}') -> 'projects')), ',')"
		: "SELECT coalesce((SELECT array_to_string(projects, ',') FROM unleash_tokens.validate_api_tokens(ARRAY['$model[$i]{secret}'])), '')");
	$asked{$level}++;
	$wrong{$level}++ if $answer ne $expected;
	return;
}

create($_) foreach 0 .. $tokens - 1;
for my $step (1 .. $steps)
{
	my $i = int rand $tokens;
	my $dice = rand;

	if ($dice < 0.03) { delete_token($i); }
	elsif ($dice < 0.09) { expire($i, 1); }
	elsif ($dice < 0.15) { expire($i, 0); }
	elsif ($dice < 0.18) { narrow($i); }
	elsif ($dice < 0.20) { renew($levels[ int rand @levels ]); }
	else
	{
		ask($levels[ int rand @levels ], $i,
			$model[$i]{alive} ? $model[$i]{projects} : '');
	}
}

foreach my $level (@levels)
{
	cmp_ok($asked{$level}, '>', $steps / 10, "$level: asked often enough");
	is($wrong{$level} // 0, 0, "$level: no stale answer");
}

$_->quit foreach @writers, values %reader;
$node->stop;
done_testing();
