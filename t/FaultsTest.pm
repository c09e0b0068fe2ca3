# What the tests of faults share: the state of the tables, what must hold in it
# whatever happened, and clients that tell every answer they got.
package FaultsTest;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(contents valid broken start_psql start_stream stop_streams read_answers check_answers answers_of);

# Everything there is but the times of use, as one digest: for what must not
# have changed.
sub contents
{
	my ($node, $database) = @_;

	return $node->safe_psql($database // 'postgres', q{
		SELECT md5(coalesce(string_agg(line, E'\n' ORDER BY line), '')) FROM (
			SELECT 'project ' || p::text FROM unleash_tokens.project AS p
			UNION ALL SELECT 'environment ' || e::text FROM unleash_tokens.environment AS e
			UNION ALL SELECT 'token ' || (to_jsonb(t) - 'seen_at')::text FROM unleash_tokens.api_token AS t
			UNION ALL SELECT 'scope ' || s::text FROM unleash_tokens.api_token_project AS s
			UNION ALL SELECT 'event ' || v::text FROM unleash_tokens.api_token_event AS v) AS all_of (line)});
}

# How many of the secrets are valid.
sub valid
{
	my ($node, $secrets, $database) = @_;
	my $list = join ',', map { "\"$_\"" } @$secrets;

	return $node->safe_psql($database // 'postgres', "SELECT count(*) FROM unleash_tokens.validate_api_tokens('{$list}')");
}

# Half tokens: tables that do not agree, each with what is wrong; nothing when
# all is well.  The events tell the whole story of every token.
sub broken
{
	my ($node, $database) = @_;

	return $node->safe_psql($database // 'postgres', q{
		SET enable_indexscan = off;
		SET enable_bitmapscan = off;
		WITH story AS MATERIALIZED (
			SELECT selector, count(*) FILTER (WHERE type = 'api-token-created') AS made,
				count(*) FILTER (WHERE type = 'api-token-deleted') AS deleted,
				(array_agg(data ORDER BY id DESC) FILTER (WHERE type <> 'api-token-deleted'))[1] AS last
			FROM unleash_tokens.api_token_event GROUP BY selector),
		scope AS MATERIALIZED (
			SELECT selector, array_agg(project ORDER BY ord) AS projects FROM unleash_tokens.api_token_project GROUP BY selector)
		SELECT selector, CASE
			WHEN t.selector IS NULL AND p.selector IS NOT NULL THEN 'scope without token'
			WHEN s.selector IS NULL OR s.made <> 1 THEN 'not one event of its making'
			WHEN s.deleted > 1 THEN 'deleted twice'
			WHEN s.deleted = 1 AND t.selector IS NOT NULL THEN 'deleted and still there'
			WHEN s.deleted = 0 AND t.selector IS NULL THEN 'event without token'
			WHEN s.deleted = 0 AND to_jsonb(CASE WHEN t.all_projects THEN '{*}' ELSE coalesce(p.projects, '{}') END) <> s.last -> 'projects' THEN 'another scope than in the event'
			WHEN s.deleted = 0 AND t.expires_at IS DISTINCT FROM (s.last ->> 'expiresAt')::timestamptz THEN 'another expiry than in the event' END
		FROM unleash_tokens.api_token AS t FULL JOIN story AS s USING (selector) FULL JOIN scope AS p USING (selector)
		ORDER BY 1}) =~ s/^.*\|$//mgr =~ s/\n+/\n/gr =~ s/^\n|\n$//gr;
}

# A psql that runs a script and ends at the first error.
sub start_psql
{
	my ($node, $name, $sql, $database) = @_;
	my $file = $node->basedir . "/$name.sql";
	my %session = (out => '', err => '');

	open(my $script, '>', $file) or die "could not write $file: $!";
	print $script $sql;
	close $script;
	$session{run} = IPC::Run::start(
		[ $node->installed_command('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($database // 'postgres'), '-f', $file ],
		'<', \undef, '>', \$session{out}, '2>', \$session{err},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return \%session;
}

# A client that makes tokens, changes every second one and deletes every third,
# and says each answer once it has it.
sub start_stream
{
	my ($node, $name, $rounds, $database) = @_;
	my @bodies = map { qq{{"type": "client", "tokenName": "$name", $_}} }
	  '"project": "a"', '"projects": ["a", "b"]', '"projects": ["*"]', '"project": "default", "environment": "production"';
	my $sql = '';

	foreach my $round (1 .. $rounds)
	{
		$sql .= "SELECT unleash_tokens.create_api_token('$bodies[$round % @bodies]') ->> 'secret' AS s \\gset\n\\echo created :s\n";
		$sql .= "SELECT unleash_tokens.update_api_token(:'s', '{\"expiresAt\": \"2090-01-01T00:00:00Z\"}') ->> 'expiresAt' AS e \\gset\n\\echo updated :s\n"
		  if $round % 2 == 0;
		$sql .= "SELECT unleash_tokens.delete_api_token(:'s') AS d \\gset\n\\echo deleted :s :d\n" if $round % 3 == 0;
	}
	return start_psql($node, $name, $sql, $database);
}

sub answers_of
{
	my ($stream) = @_;
	return ($stream->{out} =~ tr/\n//);
}

# Lets each of them go on until it has so many answers.
sub read_answers
{
	my ($streams, $answers) = @_;

	foreach my $stream (@$streams)
	{
		$stream->{run}->pump while $stream->{run}->pumpable && answers_of($stream) < $answers;
	}
	return;
}

# All that was answered; the server is gone.
sub stop_streams
{
	my ($streams) = @_;
	my @lines;

	foreach my $stream (@$streams)
	{
		eval { $stream->{run}->finish; };
		push @lines, grep { /^\w+ \S+\.v2_\w{22}_\w{43}( t)?$/ } split /\n/, $stream->{out};
	}
	return @lines;
}

# What was answered holds: the state of each secret is that of the last answer
# for it, or that of the one after it, whose answer did not come any more.
# Every token made whose secret nobody got counts as one of the lost.
sub check_answers
{
	my ($node, $lines, $clients, $what, $database) = @_;
	my %last = map { my ($state, $secret) = split / /; $secret => $state } @$lines;
	my @secrets = sort keys %last;
	my (%seen, @wrong);

	foreach (split /\n/, $node->safe_psql($database // 'postgres',
			q{SELECT ordinal, coalesce(extract(year FROM expires_at)::text, 'never') FROM unleash_tokens.validate_api_tokens('{}
			} =~ s/\{\}\s*$/'{' . join(',', map { "\"$_\"" } @secrets) . '}' . "')"/er))
	{
		my ($ordinal, $expiry) = split /\|/;
		$seen{ $secrets[ $ordinal - 1 ] } = $expiry;
	}
	my ($ahead, $gone) = (0, 0);
	foreach my $secret (@secrets)
	{
		my $is = !defined $seen{$secret} ? 'deleted' : $seen{$secret} eq 'never' ? 'created' : 'updated';
		my $said = $last{$secret};

		next if $is eq $said;
		# each client had one statement under way
		if ($is eq 'updated' && $said eq 'created' || $is eq 'deleted' && $said ne 'deleted') { $ahead++; }
		else { push @wrong, "answered $said, is $is"; }
	}
	is(join("\n", @wrong), '', "$what: all " . @$lines . ' answers hold');
	my $made = $node->safe_psql($database // 'postgres',
		q{SELECT count(DISTINCT selector) FROM unleash_tokens.api_token_event WHERE type = 'api-token-created' AND token_name LIKE 'stream %'});
	my $lost = $made - @secrets;
	cmp_ok($ahead + $lost, '<=', $clients, "$what: at most one statement of each client was done and not answered");
	cmp_ok($lost, '>=', 0, "$what: no token is missing ($lost made and not answered)");
	is(broken($node, $database), '', "$what: no half token");
	return;
}

1;
