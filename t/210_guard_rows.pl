
# Copyright (c) 2026, unleash_tokens contributors

# A token sees and writes exactly the rows of its projects and its environment, whichever way it goes to them: the answers are
# compared with those of a model that knows nothing of policies.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use Test::More;
use GuardTest;

my $node = new_guarded('web', 'web_user', 'web_admin');
register($node, 'a', 'b', 'c');
$node->safe_psql('postgres', q{
	CREATE TABLE note (id int PRIMARY KEY, project text, environment text, body text DEFAULT 'old', UNIQUE (id, project, environment));
	CREATE TABLE remark (note int, project text, environment text, FOREIGN KEY (note, project, environment) REFERENCES note (id, project, environment) ON DELETE CASCADE ON UPDATE CASCADE);
	INSERT INTO note SELECT row_number() OVER (), p, e FROM unnest(ARRAY['a', 'b', 'c', 'default', 'ghost', '*', 'A', NULL]) AS p, unnest(ARRAY['development', 'production', 'nowhere', '*', NULL]) AS e;
	INSERT INTO remark SELECT id, project, environment FROM note;
	SELECT unleash_tokens.set_guard_role('*', 'web_user'), unleash_tokens.set_guard_role('admin', 'web_admin');
	SELECT unleash_tokens.protect('note', 'project', 'environment', false);
	SELECT unleash_tokens.protect('remark', 'project', 'environment', false);
	CREATE VIEW owned AS SELECT * FROM note;
	ALTER VIEW owned OWNER TO web_user;
	CREATE VIEW invoker WITH (security_invoker) AS SELECT * FROM note;
	CREATE FUNCTION listed() RETURNS SETOF note LANGUAGE sql STABLE AS 'SELECT * FROM public.note';
	CREATE FUNCTION listed_volatile() RETURNS SETOF note LANGUAGE plpgsql AS 'BEGIN RETURN QUERY SELECT * FROM public.note; END';
	GRANT SELECT, INSERT, UPDATE, DELETE ON note, remark TO web_user, web_admin;
	GRANT SELECT ON owned, invoker TO web_user, web_admin});

# The rows as they are stored, and what the model says of them: nothing here asks the database.
my %row = map { my @f = split /\|/, $_, -1; $f[0] => { project => $f[1], environment => $f[2] } }
  split /\n/, $node->safe_psql('postgres', q{SELECT id, coalesce(project, 'NULL'), coalesce(environment, 'NULL') FROM note});
my @registered = qw(a b c default);

sub reaches
{
	my ($token, $row) = @_;
	my @projects = $token->{projects} eq '*' ? @registered : split /,/, $token->{projects};
	return (grep { $_ eq $row->{project} } @projects) && $row->{environment} ne 'NULL'
	  && ($token->{type} eq 'admin' || $row->{environment} eq $token->{environment});
}

my @tokens = ({ type => 'admin', projects => '*', environment => '*' });
foreach my $type (qw(client backend frontend))
{
	foreach my $projects ('a', 'b,c', 'default', '*')
	{
		push @tokens, { type => $type, projects => $projects, environment => $_ } foreach (qw(development production));
	}
}

my $cells = 0;
foreach my $token (@tokens)
{
	my $name = "$token->{type} of $token->{projects} in $token->{environment}";
	my $secret = new_secret($node, $token->{type}, 't', [ split /,/, $token->{projects} ], $token->{environment});
	my @visible = sort { $a <=> $b } grep { reaches($token, $row{$_}) } keys %row;
	my @hidden = grep { !reaches($token, $row{$_}) } keys %row;
	my $ids = join ',', @visible;
	my $n = @visible;
	my (@sql, @expected);
	my $expect = sub { my ($what, $sql, $expected) = @_; push @sql, "SAVEPOINT s; $sql; ROLLBACK TO s; \\echo end"; push @expected, [ $what, $expected ]; };
	foreach my $from ('note', 'owned', 'invoker', 'listed()', 'listed_volatile()')
	{
		$expect->("SELECT FROM $from", "SELECT string_agg(id::text, ',' ORDER BY id) FROM $from", $ids);
		$expect->("count of $from", "SELECT count(*) FROM $from", $n);
		$expect->("a hidden row of $from", "SELECT count(*) FROM $from WHERE id = $hidden[0]", 0);
	}
	$expect->('remarks', "SELECT string_agg(note::text, ',' ORDER BY note) FROM remark", $ids);
	$expect->('a join', "SELECT string_agg(id::text, ',' ORDER BY id) FROM note JOIN remark ON note = id", $ids);
	$expect->('COPY TO', 'COPY (SELECT id FROM note ORDER BY id) TO STDOUT', join "\n", @visible);
	$expect->('COPY of the table', 'COPY note (id) TO STDOUT', join "\n", @visible);
	$expect->('UPDATE', "UPDATE note SET body = 'new' RETURNING id", join "\n", @visible);
	$expect->('DELETE', "DELETE FROM note RETURNING id", join "\n", @visible);
	$expect->('MERGE', "MERGE INTO note AS n USING generate_series(1, 100) AS g ON n.id = g WHEN MATCHED THEN UPDATE SET body = 'merged'; SELECT count(*) FROM note WHERE body = 'merged'", $n);
	$expect->('MERGE deletes', "MERGE INTO note AS n USING generate_series(1, 100) AS g ON n.id = g WHEN MATCHED THEN DELETE; SELECT count(*) FROM note", 0);
	$expect->('TRUNCATE', 'TRUNCATE note CASCADE', 'ERROR');
	# each place a row could go to
	my %place = map { ("$_->{project}|$_->{environment}" => $_) } values %row;
	foreach my $place (map { $place{$_} } sort keys %place)
	{
		my ($project, $environment) = map { $_ eq 'NULL' ? 'NULL' : "'$_'" } @$place{qw(project environment)};
		my $may = reaches($token, $place);
		my $values = "(1000, $project, $environment)";
		$expect->("INSERT $project $environment", "INSERT INTO note VALUES $values RETURNING id", $may ? 1000 : 'ERROR');
		$expect->("INSERT SELECT $project $environment", "INSERT INTO note SELECT 1000 + g, $project, $environment FROM generate_series(1, 2) AS g RETURNING id", $may ? "1001\n1002" : 'ERROR');
		$expect->("ON CONFLICT DO NOTHING $project $environment", "INSERT INTO note VALUES $values ON CONFLICT DO NOTHING RETURNING id", $may ? 1000 : 'ERROR');
		$expect->("MERGE INSERT $project $environment", "MERGE INTO note AS n USING (VALUES $values) AS v (id, p, e) ON n.id = v.id WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.p, v.e); SELECT count(*) FROM note WHERE id = 1000", $may ? 1 : 'ERROR');
		$expect->("UPDATE to $project $environment", "UPDATE note SET project = $project, environment = $environment WHERE id = $visible[0] RETURNING 1", $may ? 1 : 'ERROR') if $n > 0;
	}
	foreach my $id (sort { $a <=> $b } keys %row)
	{
		my $may = reaches($token, $row{$id});
		my ($project, $environment) = map { $_ eq 'NULL' ? 'NULL' : "'$_'" } @{ $row{$id} }{qw(project environment)};
		$expect->("ON CONFLICT DO UPDATE of $id", "INSERT INTO note VALUES ($id, $project, $environment) ON CONFLICT (id) DO UPDATE SET body = 'taken' RETURNING body", $may ? 'taken' : 'ERROR');
		$expect->("a remark on $id", "INSERT INTO remark VALUES ($id, $project, $environment) RETURNING note", $may ? $id : 'ERROR');
	}
	my ($code, $out, $err) = $node->psql('postgres', "BEGIN; SELECT unleash_tokens.guard('$secret') IS NOT NULL;\n\\echo end\n" . join("\n", @sql) . "\nROLLBACK;\n",
		extra_params => [ '-U', 'web', '-v', 'ON_ERROR_ROLLBACK=off' ], on_error_stop => 0);
	my @said = split /^end\n?/m, $out, -1;
	shift @said;    # of guard() itself
	my $wrong = '';
	for my $i (0 .. $#expected)
	{
		my ($what, $expected) = @{ $expected[$i] };
		my $got = $said[$i] // 'nothing';
		chomp $got;
		# a refused statement says nothing on standard output, and takes what follows it along
		my $right = $expected eq 'ERROR' ? $got eq '' : join(',', sort split /\n/, $got) eq join(',', sort split /\n/, $expected);
		$wrong .= "$what: '$got' and not '$expected'\n" if !$right;
		$cells++;
	}
	is($wrong, '', "$name: $n rows");
	is(scalar(grep { !/row-level security|permission denied|current transaction is aborted|violates (foreign key|not-null)/ } grep { /ERROR/ } split /\n/, $err), 0, '... and no other error');
}
diag("figure: $cells cells");
cmp_ok($cells, '>', 5000, 'many cells');
is($node->safe_psql('postgres', 'SELECT count(*), count(*) FILTER (WHERE body = $$old$$) FROM note'), '40|40', 'nothing was kept');

# COPY FROM is not to be had under row security, for anyone it binds
my $secret = new_secret($node, 'client', 'copy', ['a']);
my ($code, $out, $err) = $node->psql('postgres', "BEGIN; SELECT unleash_tokens.guard('$secret');\nCOPY note FROM STDIN;\n2000\ta\tdevelopment\tx\n\\.\nCOMMIT;", extra_params => [ '-U', 'web' ], on_error_stop => 0);
like($err, qr/COPY FROM not supported with row-level security/, 'COPY FROM is refused');

# a column whose collation takes different texts for equal would widen a scope
SKIP:
{
	($code, $out, $err) = $node->psql('postgres', q{CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)});
	skip 'no ICU', 1 if $err =~ /ICU is not supported in this build/;
	$node->safe_psql('postgres', 'CREATE TABLE loose (project text COLLATE loose)');
	($code, $out, $err) = $node->psql('postgres', q{SELECT unleash_tokens.protect('loose')});
	like($err, qr/column project has a collation that takes different texts for equal/, 'protect() refuses such a column');
}

# the registry decides what a token of all projects sees, and a renamed project is another one
register($node, 'ghost');
$secret = new_secret($node, 'admin', 'all');
is(($node->psql('postgres', "BEGIN; SELECT unleash_tokens.guard('$secret') IS NOT NULL; SELECT count(*) FROM note WHERE project = 'ghost'", extra_params => [ '-U', 'web' ]))[1], "t\n4", 'a project that is registered now is seen by tokens of all');

# ---- What keys tell of rows that are not seen ----

# Keys are checked behind row security: that a value is taken is told, unless the project is part of the key.
$node->safe_psql('postgres', q{
	CREATE TABLE plain (id int PRIMARY KEY, project text NOT NULL);
	CREATE TABLE plain_part (plain int REFERENCES plain (id), project text NOT NULL);
	CREATE TABLE scoped (id int, project text, PRIMARY KEY (project, id));
	CREATE TABLE scoped_part (scoped int, project text NOT NULL, FOREIGN KEY (project, scoped) REFERENCES scoped (project, id));
	INSERT INTO plain VALUES (1, 'a'), (2, 'b');
	INSERT INTO scoped VALUES (1, 'a'), (2, 'b');
	SELECT unleash_tokens.protect(t, dry_run => false) FROM unnest(ARRAY['plain', 'plain_part', 'scoped', 'scoped_part']::regclass[]) AS t;
	GRANT SELECT, INSERT ON plain, plain_part, scoped, scoped_part TO web_user});
$secret = new_secret($node, 'client', 'keys', ['a']);
sub keys_tell
{
	my ($sql) = @_;
	my (undef, undef, $said) = $node->psql('postgres', "BEGIN; SELECT unleash_tokens.guard('$secret') IS NOT NULL; $sql; ROLLBACK", extra_params => [ '-U', 'web', '-v', 'VERBOSITY=sqlstate' ]);
	return $said =~ /ERROR:\s+(\w+)/ ? $1 : 'taken';
}
# 2 is a row of another project, 3 is none
is(keys_tell("INSERT INTO plain VALUES (2, 'a')") . ' ' . keys_tell("INSERT INTO plain VALUES (3, 'a')"), '23505 taken', 'a unique key without the project tells that another project has the value');
is(keys_tell("INSERT INTO plain_part VALUES (2, 'a')") . ' ' . keys_tell("INSERT INTO plain_part VALUES (3, 'a')"), 'taken 23503', 'a foreign key without the project tells that there is such a row, and refers to it');
is(keys_tell("INSERT INTO plain VALUES (2, 'a') ON CONFLICT DO NOTHING") . ' ' . keys_tell("INSERT INTO plain VALUES (2, 'b')"), 'taken 42501', 'a row of another project is still not written');
is(keys_tell("INSERT INTO scoped VALUES (2, 'a')") . ' ' . keys_tell("INSERT INTO scoped VALUES (3, 'a')"), 'taken taken', 'a unique key with the project tells nothing');
is(keys_tell("INSERT INTO scoped_part VALUES (2, 'a')") . ' ' . keys_tell("INSERT INTO scoped_part VALUES (3, 'a')"), '23503 23503', 'a foreign key with the project tells nothing');

$node->stop;
done_testing();
