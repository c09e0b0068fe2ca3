
# Copyright (c) 2026, unleash_tokens contributors

# What was answered survives a crash, what was not answered is not there; and a
# selector that is taken already is drawn again.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UsageTest ();

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', 'restart_after_crash = on');
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION unleash_tokens;
	INSERT INTO unleash_tokens.project (id) VALUES ('a');});

my $make = q{SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "n", "project": "a"}') ->> 'secret';};

sub validates
{
	my @secrets = @_;
	my $list = join ',', map { "'$_'" } @secrets;
	return $node->safe_psql('postgres',
		"SELECT count(unleash_tokens.validate_api_token(secret)) FROM unnest(ARRAY[$list]::text[]) AS secret"
	);
}

# Starts a psql that runs $sql and then, with $stay, waits for more.
sub start_psql
{
	my ($sql, $stay) = @_;
	my $session = { in => '', out => '', err => '' };
	my $file = $node->basedir . '/script.sql';
	unlink $file;
	append_to_file($file, $sql);
	$session->{run} = IPC::Run::start(
		[
			'psql', '--no-psqlrc', '--quiet', '--no-align', '--tuples-only',
			'--dbname=' . $node->connstr('postgres'), "--file=$file",
			$stay ? '--file=-' : ()
		],
		'<',  \$session->{in},
		'>',  \$session->{out},
		'2>', \$session->{err},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return $session;
}

sub read_until
{
	my ($session, $pattern) = @_;
	$session->{run}->pump until $session->{out} =~ $pattern;
	return;
}

#
# Stopped as if the power went: a token that was answered, and one whose
# transaction was still open, though its secret was seen already.
#
my $answered = $node->safe_psql('postgres', $make);
my $open = start_psql("BEGIN;\n$make\n", 1);
read_until($open, qr/_\w{43}\n/);
my ($unanswered) = $open->{out} =~ /^(.*)$/m;

$node->stop('immediate');
$open->{run}->kill_kill;
$node->start;

is(validates($answered), '1', 'an answered token survives an immediate stop');
is(validates($unanswered), '0', 'one whose transaction was open is not there');
is( $node->safe_psql(
		'postgres',
		q{SELECT (SELECT count(*) FROM unleash_tokens.api_token), (SELECT count(*) FROM unleash_tokens.api_token_project),
		(SELECT count(*) FROM unleash_tokens.api_token_event)}
	),
	'1|1|1',
	'nor are its scope and its event');

#
# A backend is killed in the middle of making one token after the other: every
# secret that came out is good, and at most one more was made.
#
my $busy = start_psql("$make\n" x 5000);
read_until($busy, qr/(?:.*\n){200}/);
my $pid = $node->safe_psql('postgres',
	q{SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT unleash_tokens.create%' AND pid <> pg_backend_pid()}
);
kill 'KILL', $pid;
$busy->{run}->finish;
my @secrets = $busy->{out} =~ /^(.*_\w{43})$/mg;
cmp_ok(scalar(@secrets), '>=', 200, 'tokens were being made');
cmp_ok(scalar(@secrets), '<', 5000, 'and were not all made');
ok( UsageTest::poll_through_restart($node, 'SELECT true'),
	'the server comes back by itself');
is(validates(@secrets), scalar(@secrets), 'every secret that came out validates');
is( $node->safe_psql(
		'postgres', q{
		SELECT count(*) FROM unleash_tokens.api_token AS t
		FULL JOIN (SELECT * FROM unleash_tokens.api_token_project) AS p USING (selector)
		FULL JOIN (SELECT * FROM unleash_tokens.api_token_event WHERE type = 'api-token-created') AS e USING (selector)
		WHERE t IS NULL OR p IS NULL OR e.id IS NULL}
	),
	'0',
	'every token has its scope and its event, and the other way round');
my $extra =
  $node->safe_psql('postgres', 'SELECT count(*) FROM unleash_tokens.api_token') - 1 - @secrets;
ok($extra == 0 || $extra == 1, 'at most one was made and not answered');

#
# The selector is taken: ON CONFLICT DO NOTHING inserts no row, for which a
# trigger stands here that swallows the first three.
#
$node->safe_psql(
	'postgres', q{
	CREATE TABLE tried (selector text, verifier bytea);
	CREATE SEQUENCE tries;
	CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.tried VALUES (NEW.selector, NEW.verifier);
		RETURN CASE WHEN nextval('public.tries') > 3 THEN NEW END;
	END
	$$;
	CREATE TRIGGER swallow BEFORE INSERT ON unleash_tokens.api_token FOR EACH ROW EXECUTE FUNCTION swallow();
});
my $retried = $node->safe_psql('postgres', $make =~ s/"n"/"retried"/r);
is(validates($retried), '1', 'a token is made though its first selectors were taken');
is( $node->safe_psql(
		'postgres', q{
		SELECT count(*), count(DISTINCT selector), count(DISTINCT verifier),
			(SELECT count(*) FROM unleash_tokens.api_token WHERE token_name = 'retried'),
			(SELECT count(*) FROM unleash_tokens.api_token_event WHERE token_name = 'retried')
		FROM tried}
	),
	'4|4|4|1|1',
	'each try has a new selector and a new key; one row and one event remain');

$node->stop;
done_testing();
