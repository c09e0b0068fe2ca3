
# Copyright (c) 2026, unleash_tokens contributors

# What README says of backups: which forms of pg_dump take the tokens along and which do not, and the statements that
# repeat what happened after a backup, taken from README itself.

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use File::Basename qw(dirname);

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $readme = slurp_file(abs_path(dirname(__FILE__) . '/..') . '/README.md');
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir();

$node->safe_psql('postgres', 'CREATE DATABASE source');
$node->safe_psql('source', q{CREATE EXTENSION unleash_tokens; CREATE TABLE public.other (a int);
	INSERT INTO unleash_tokens.project (id) VALUES ('p');
	CREATE TABLE public.secret AS SELECT n AS name, unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', n, 'project', 'p')) ->> 'secret' AS secret
	FROM unnest('{kept,deleted,shortened,lengthened}'::text[]) AS n;
	SELECT unleash_tokens.update_api_token(secret, '{"expiresAt": "2001-01-01T00:00:00Z"}') FROM public.secret WHERE name = 'lengthened'});
my $secrets = $node->safe_psql('source', 'SELECT name, secret FROM public.secret');
my $valid = q{SELECT string_agg(name, ' ' ORDER BY name) FROM public.secret WHERE unleash_tokens.validate_api_token(secret) IS NOT NULL};

# dump FORM: with these options; restored into a new database, with the extension there or not.
my $number = 0;

sub restore
{
	my ($file, $prepare) = @_;
	my $to = 'to_' . ++$number;
	$node->safe_psql('postgres', "CREATE DATABASE $to TEMPLATE template0");
	$node->safe_psql($to, $prepare) if $prepare;
	my $ok = run_log([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($to), '-f', $file ]);
	return ($to, $ok);
}

sub dump_it
{
	my ($file, @options) = @_;
	$node->command_ok([ 'pg_dump', '-d', $node->connstr('source'), '-f', "$dir/$file", @options ], "pg_dump @options");
	return "$dir/$file";
}

sub give_secrets
{
	my ($to) = @_;
	$node->safe_psql($to, 'CREATE TABLE IF NOT EXISTS public.secret (name text, secret text); TRUNCATE public.secret;'
		  . join ';', map { my ($name, $secret) = split /\|/; "INSERT INTO public.secret VALUES ('$name', '$secret')" } split /\n/, $secrets);
	return;
}

# ---- Forms ----

my %works = (
	'all of the database' => [ [], '' ],
	'the extension alone' => [ [ '-e', 'unleash_tokens' ], '' ],
	'into a database that has it' => [ [ '-t', 'unleash_tokens.backup_row', '-t', 'unleash_tokens.api_token_event_id_seq' ], 'CREATE EXTENSION unleash_tokens' ]);
foreach my $form (sort keys %works)
{
	my ($options, $prepare) = @{ $works{$form} };
	my $file = dump_it("form_$number", @$options);
	my ($to, $ok) = restore($file, $prepare);
	ok($ok, "$form: restored without an error");
	give_secrets($to);
	is($node->safe_psql($to, $valid), 'deleted kept shortened', '... tokens are valid');
	like($node->safe_psql($to, q{SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "new"}')}), qr/"new"/, '... new ones are made, with events of new numbers');
	like($readme, qr/pg_dump @{[ quotemeta join ' ', @$options ]}/, '... README has that form') if @$options;
}
my $file = dump_it('table', '-t', 'unleash_tokens.api_token');
unlike(slurp_file($file), qr/^(COPY|INSERT|CREATE)/m, 'a table of ours alone: an empty dump, without an error');
$file = dump_it('schema', '-n', 'unleash_tokens');
unlike(slurp_file($file), qr/CREATE EXTENSION/, 'the schema alone: no CREATE EXTENSION');
like(slurp_file($file), qr/^COPY unleash_tokens\.backup_row/m, '... but the rows');
my ($to, $ok) = restore($file, '');
ok(!$ok, '... and no restore where the extension is not');
$file = dump_it('excluded', '-N', 'unleash_tokens');
unlike(slurp_file($file), qr/COPY unleash_tokens/, 'without the schema: no rows');

# ---- What happened after the backup is repeated ----

$file = dump_it('backup');
$node->safe_psql('source', q{
	SELECT unleash_tokens.delete_api_token(secret) FROM public.secret WHERE name = 'deleted';
	SELECT unleash_tokens.update_api_token(secret, '{"expiresAt": "2002-01-01T00:00:00Z"}') FROM public.secret WHERE name = 'shortened';
	SELECT unleash_tokens.update_api_token(secret, '{"expiresAt": null}') FROM public.secret WHERE name = 'lengthened'});
is($node->safe_psql('source', $valid), 'kept lengthened', 'after the backup one is deleted, one shortened, one lengthened');
($to, $ok) = restore($file, '');
is($node->safe_psql($to, $valid), 'deleted kept shortened', 'restored: they are as they were');
my ($export, $repeat) = $readme =~ /^ +-- in the database that has the later events\n(.*?)^ +-- in the restored database\n(.*?)^\n/ms or die 'README has no such statements';
foreach my $run ([ 'source', $export ], [ $to, $repeat ])
{
	my ($database, $sql) = @$run;
	local $ENV{PWD} = $dir;
	ok(run_log([ 'sh', '-c', 'cd "$1" && exec psql -X -q -v ON_ERROR_STOP=1 -d "$2" -c "SELECT 1" -f "$3"', 'sh', $dir, $node->connstr($database),
				do { my $script = "$dir/$database.sql"; append_to_file($script, $sql); $script } ]), "README's statements in $database");
}
is($node->safe_psql($to, $valid), 'kept lengthened', '... repeated: as after it');
is($node->safe_psql($to, q{SELECT string_agg(type, ' ' ORDER BY id) FROM unleash_tokens.api_token_event AS v WHERE id > 5 AND token_name = 'deleted'}), 'api-token-deleted', '... with events');

$node->stop;
done_testing();
