
# Copyright (c) 2026, unleash_tokens contributors

# What guard() keeps between transactions of a session, the rows of guard_role and the roles that nothing is wrong with, is never older
# than the last change that was committed before the transaction began: however it was made, on a standby too.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use GuardTest;

my $node = new_guarded('app', 'reader', 'writer', 'third');
$node->append_conf('postgresql.conf', "$_\n") foreach 'wal_level = replica', 'max_wal_senders = 4', 'hot_standby = on';
$node->append_conf('pg_hba.conf', "local replication all trust\n");
$node->restart;
register($node, 'red', 'blue');
my $secret = new_secret($node, 'client', 'red', ['red']);
$node->safe_psql('postgres', q{
	SELECT unleash_tokens.set_guard_role('client', 'reader'), unleash_tokens.set_guard_role('frontend', 'writer');
	CREATE ROLE owner_of_tokens});
# sessions read it themselves, since what they are sent is kept in the log of the test
$node->safe_psql('postgres', "CREATE TABLE secret AS SELECT '$secret' AS secret; GRANT SELECT ON secret TO app");
$node->backup('kept');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'kept', has_streaming => 1);
$standby->start;

# One session on each that lives from here to the end.
my %session = map { $_->name => $_->background_psql('postgres', extra_params => [ '-U', 'app' ], on_error_stop => 0) } $node, $standby;
$_->query('SELECT secret FROM secret \gset') foreach values %session;
my $guard = q{SELECT unleash_tokens.guard(:'secret') IS NOT NULL};
my $who = q{SELECT concat_ws(' ', current_user, current_setting('work_mem'))};

sub runs_as
{
	my ($server) = @_;
	my $session = $session{ $server->name };

	$session->{stderr} = '';
	my $said = $session->query("BEGIN; $guard AS guarded \\gset\n$who; ROLLBACK;");
	return $session->{stderr} =~ /has no role in this database/ ? 'refused' : $said;
}

my $initial = 'reader 4MB';
is(runs_as($_), $initial, 'at first, on the ' . $_->name) foreach $node, $standby;

# What is changed, and as what the next transaction runs; then it is undone.
my $undo = q{DELETE FROM unleash_tokens.guard_role; SELECT unleash_tokens.set_guard_role('client', 'reader')};
foreach my $case (
	# rows
	[ 'set_guard_role()', q{SELECT unleash_tokens.set_guard_role('client', 'writer')}, 'writer 4MB' ],
	[ 'drop_guard_role()', q{SELECT unleash_tokens.drop_guard_role('client')}, 'refused' ],
	[ 'a row that says more', q{SELECT unleash_tokens.set_guard_role('client', 'third', 'development', 'red')}, 'third 4MB' ],
	[ 'UPDATE', q{UPDATE unleash_tokens.guard_role SET role = 'writer'}, 'writer 4MB' ],
	[ 'DELETE', q{DELETE FROM unleash_tokens.guard_role}, 'refused' ],
	[ 'TRUNCATE', q{TRUNCATE unleash_tokens.guard_role}, 'refused' ],
	[ 'INSERT', q{INSERT INTO unleash_tokens.guard_role VALUES ('client', 'development', NULL, 'writer')}, 'writer 4MB' ],
	[ 'MERGE', q{MERGE INTO unleash_tokens.guard_role AS g USING (SELECT 1) AS x ON g.type = 'client' WHEN MATCHED THEN UPDATE SET role = 'third'}, 'third 4MB' ],
	[ 'a replica', q{SET session_replication_role = replica; UPDATE unleash_tokens.guard_role SET role = 'writer'}, 'writer 4MB' ],
	[ 'PREPARE TRANSACTION', q{BEGIN; UPDATE unleash_tokens.guard_role SET role = 'writer'; PREPARE TRANSACTION 'x'; COMMIT PREPARED 'x'}, 'writer 4MB' ],
	[ 'a savepoint', q{BEGIN; SAVEPOINT s; UPDATE unleash_tokens.guard_role SET role = 'writer'; RELEASE s; COMMIT}, 'writer 4MB' ],
	[ 'a rollback', q{BEGIN; UPDATE unleash_tokens.guard_role SET role = 'writer'; ROLLBACK}, $initial ],
	[ 'a disabled trigger', q{ALTER TABLE unleash_tokens.guard_role DISABLE TRIGGER ALL; UPDATE unleash_tokens.guard_role SET role = 'writer'}, 'writer 4MB' ],
	[ 'a replica, with a trigger that is none of its', q{SET session_replication_role = replica; UPDATE unleash_tokens.guard_role SET role = 'third'}, 'third 4MB', undef,
		'ALTER TABLE unleash_tokens.guard_role ENABLE TRIGGER tell_sessions' ],
	[ 'the trigger as it was', q{ALTER TABLE unleash_tokens.guard_role ENABLE TRIGGER ALL; ALTER TABLE unleash_tokens.guard_role ENABLE ALWAYS TRIGGER tell_sessions}, $initial ],
	[ 'a dropped project', q{SELECT unleash_tokens.set_guard_role('client', 'third', project => 'red')}, 'third 4MB',
		q{BEGIN; INSERT INTO unleash_tokens.project (id) VALUES ('other'); DELETE FROM unleash_tokens.guard_role WHERE project = 'red'; COMMIT; DELETE FROM unleash_tokens.project WHERE id = 'other'} ],
	# roles
	[ 'BYPASSRLS', 'ALTER ROLE reader BYPASSRLS', 'refused', 'ALTER ROLE reader NOBYPASSRLS' ],
	[ 'SUPERUSER', 'ALTER ROLE reader SUPERUSER', 'refused', 'ALTER ROLE reader NOSUPERUSER' ],
	[ 'a membership', 'GRANT pg_monitor TO reader', 'refused', 'REVOKE pg_monitor FROM reader' ],
	[ 'a membership of a membership', 'GRANT owner_of_tokens TO third; GRANT third TO reader; ALTER ROLE owner_of_tokens CREATEROLE', 'refused', 'ALTER ROLE owner_of_tokens NOCREATEROLE' ],
	[ 'the owner of a table', 'ALTER TABLE unleash_tokens.api_token OWNER TO owner_of_tokens', 'refused', 'ALTER TABLE unleash_tokens.api_token OWNER TO CURRENT_USER' ],
	[ 'the owner of the schema', 'ALTER SCHEMA unleash_tokens OWNER TO owner_of_tokens', 'refused', 'ALTER SCHEMA unleash_tokens OWNER TO CURRENT_USER; REVOKE third FROM reader; REVOKE owner_of_tokens FROM third' ],
	[ 'a role that the login lost', 'REVOKE reader FROM app', 'refused', 'GRANT reader TO app' ],
	[ 'another name', 'ALTER ROLE reader RENAME TO renamed', 'refused', 'ALTER ROLE renamed RENAME TO reader' ],
	[ 'another role of that name', 'ALTER ROLE reader RENAME TO renamed; CREATE ROLE reader BYPASSRLS ROLE app', 'refused', 'DROP ROLE reader; ALTER ROLE renamed RENAME TO reader' ],
	[ 'a role that is gone', 'DROP ROLE writer', 'refused', 'CREATE ROLE writer ROLE app', q{SELECT unleash_tokens.set_guard_role('client', 'writer')} ],
	[ 'a setting of the role', q{ALTER ROLE reader SET work_mem = '5MB'}, 'reader 5MB', q{ALTER ROLE reader RESET ALL} ],
	[ 'a setting of the role in this database', q{ALTER ROLE reader SET work_mem = '5MB'; ALTER ROLE reader IN DATABASE postgres SET work_mem = '6MB'}, 'reader 6MB',
		q{ALTER ROLE reader RESET ALL; ALTER ROLE reader IN DATABASE postgres RESET ALL} ])
{
	my ($what, $change, $expected, $back, $before) = @$case;
	if (defined $before)
	{
		$node->safe_psql('postgres', $before);
		$node->wait_for_catchup($standby);
		runs_as($_) foreach $node, $standby;
	}
	$node->safe_psql('postgres', $change);
	is(runs_as($node), $expected, "$what: the next transaction knows");
	$node->wait_for_catchup($standby);
	is(runs_as($standby), $expected, '... on the standby, once it is replayed');
	$node->safe_psql('postgres', join ";\n", $back // (), $undo);
	$node->wait_for_catchup($standby);
	is(join(', ', map { runs_as($_) } $node, $standby), "$initial, $initial", '... and that it is as before');
}

# In one transaction: a row that is written and taken back with its savepoint.
my ($code, $out, $err) = $node->psql('postgres', qq{
	SELECT secret FROM secret \\gset
	BEGIN;
	SAVEPOINT a; $guard; $who; ROLLBACK TO a;
	SAVEPOINT b; UPDATE unleash_tokens.guard_role SET role = 'writer'; SAVEPOINT c; $guard; $who; ROLLBACK TO c;
	ROLLBACK TO b; SAVEPOINT d; $guard; $who; ROLLBACK TO d;
	SAVEPOINT e; TRUNCATE unleash_tokens.guard_role; INSERT INTO unleash_tokens.guard_role VALUES ('client', NULL, NULL, 'third'); SAVEPOINT f; $guard; $who; ROLLBACK TO f;
	TRUNCATE unleash_tokens.guard_role; INSERT INTO unleash_tokens.guard_role VALUES ('client', NULL, NULL, 'writer'); $guard; $who; ROLLBACK});
is(join(' ', grep { /MB/ } split /\n/, $out) =~ s/ 4MB//gr, 'reader writer reader third writer', 'rows that are written and taken back in one transaction');

# Settings of a role that the transaction has changed itself, and that it takes back.
$out = $node->safe_psql('postgres', qq{
	SELECT secret FROM secret \\gset
	BEGIN; $guard; $who; COMMIT;
	BEGIN; $guard; $who; COMMIT;
	BEGIN; ALTER ROLE reader SET work_mem = '7MB'; $guard; $who; ROLLBACK;
	BEGIN; $guard; $who; COMMIT;
	BEGIN; SAVEPOINT a; ALTER ROLE reader SET work_mem = '8MB'; ROLLBACK TO a; $guard; $who; ROLLBACK;
	BEGIN; SAVEPOINT a; ALTER ROLE reader SET work_mem = '9MB'; RELEASE a; $guard; $who; ROLLBACK;
	BEGIN; $guard; $who; COMMIT});
is(join(' ', grep { /MB/ } split /\n/, $out) =~ s/reader //gr, '4MB 4MB 7MB 4MB 4MB 9MB 4MB', 'settings of a role that are changed and taken back in one transaction');

# More kinds of tokens than are kept.
my $kinds = 300;
my @secrets = split /\n/, $node->safe_psql('postgres', qq{
	INSERT INTO unleash_tokens.project (id) SELECT 'p' || i FROM generate_series(1, $kinds) AS i;
	SELECT unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', 't' || i, 'projects', jsonb_build_array('p' || i))) ->> 'secret' FROM generate_series(1, $kinds) AS i;
	DO \$\$ BEGIN PERFORM unleash_tokens.set_guard_role('client', (ARRAY['reader', 'writer', 'third'])[i % 3 + 1], project => 'p' || i) FROM generate_series(1, $kinds) AS i; END \$\$});
my @order = map { 1 + int rand $kinds } 1 .. 3 * $kinds;
$out = $node->safe_psql('postgres', join '', map { "BEGIN; DO \$\$ BEGIN PERFORM unleash_tokens.guard('$secrets[$_ - 1]'); END \$\$; SELECT current_user; COMMIT;\n" } @order);
is($out, join("\n", map { (qw(reader writer third))[ $_ % 3 ] } @order), 'more kinds of tokens than are kept');

$_->quit foreach values %session;
$standby->stop;
$node->stop;
done_testing();
