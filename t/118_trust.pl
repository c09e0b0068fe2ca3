# The functions of the extension run as their owner, a superuser: nobody who may
# put a trigger on one of its tables, or owns one, is lent that right.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UsageTest;

my $node = new_server('trust');
my @tables = qw(api_token api_token_project api_token_event);

$node->safe_psql('postgres', q{
	CREATE ROLE mallory LOGIN;
	GRANT USAGE ON SCHEMA unleash_tokens TO mallory;
	GRANT CREATE ON SCHEMA public TO mallory;
	INSERT INTO unleash_tokens.project (id) VALUES ('p');
	CREATE TABLE tried (who text);
	GRANT INSERT ON tried TO PUBLIC;
	CREATE TABLE made AS SELECT t ->> 'secret' AS secret FROM generate_series(1, 20) AS i,
		unleash_tokens.create_api_token(jsonb_build_object('type', 'client', 'tokenName', 'made ' || i, 'project', 'p')) AS t});
$node->safe_psql('postgres', "GRANT TRIGGER ON unleash_tokens.$_ TO mallory") foreach @tables, 'project', 'environment';

sub as_mallory
{
	my ($query) = @_;
	my ($status, undef, $stderr) = $node->psql('postgres', $query, connstr => $node->connstr('postgres') . ' user=mallory');

	is($status, 0, 'mallory may do that') or diag($stderr);
	return;
}

my $secret = q{(SELECT secret FROM made WHERE unleash_tokens.validate_api_token(secret) IS NOT NULL LIMIT 1)};
my $create = q{SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "t", "project": "p"}')};

$node->safe_psql('postgres', q{UPDATE unleash_tokens.api_token SET expires_at = '2001-01-01' WHERE selector = (SELECT max(selector) FROM unleash_tokens.api_token)});

# What is called, and which tables it writes.
my @doors = (
	[ 'create', $create, [@tables] ],
	[ 'update', "SELECT unleash_tokens.update_api_token($secret, '{\"expiresAt\": \"2001-01-01T00:00:00Z\"}')", [qw(api_token api_token_event)] ],
	[ 'purge', q{SELECT unleash_tokens.purge_expired('0')}, [@tables] ],
	[ 'delete', "SELECT unleash_tokens.delete_api_token($secret)", [@tables] ],
	[ 'import', q{SELECT unleash_tokens.import_api_tokens('[{"secret": "p:development.be44368985f7fb3237c584ef86f3d6bdada42ddbd63a019d26955178",
		"type": "client", "tokenName": "i", "environment": "development", "projects": ["p"]}]')}, [@tables] ],
	[ 'purge of events', q{SELECT unleash_tokens.purge_events('0')}, ['api_token_event'] ],
	[ 'removal of a project', q{DELETE FROM unleash_tokens.api_token_project WHERE selector = (SELECT min(selector) FROM unleash_tokens.api_token)},
		[qw(api_token api_token_event)] ],
	[ 'create_project', q{SELECT unleash_tokens.create_project('new')}, ['project'] ],
	[ 'rename_project', q{SELECT unleash_tokens.rename_project('p', 'q')}, [qw(project api_token_project)] ],
	[ 'delete_project', q{SELECT unleash_tokens.delete_project('p')}, [ 'project', @tables ] ],
	[ 'create_environment', q{SELECT unleash_tokens.create_environment('new')}, ['environment'] ],
	[ 'rename_environment', q{SELECT unleash_tokens.rename_environment('development', 'new')}, [qw(environment api_token)] ],
	[ 'delete_environment', q{SELECT unleash_tokens.delete_environment('production')}, ['environment'] ],
	[ 'restore', q{INSERT INTO unleash_tokens.backup_row VALUES (1, 'project', '{"id": "restored"}')}, ['project'] ]);

as_mallory(q{
	CREATE FUNCTION try() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.tried VALUES (current_user);
		BEGIN
			ALTER ROLE mallory SUPERUSER;
		EXCEPTION WHEN insufficient_privilege THEN
		END;
		RETURN coalesce(new, old);
	END $$});
foreach my $door (@doors)
{
	my ($name, $query, $written) = @$door;

	foreach my $table (@$written)
	{
		as_mallory("CREATE TRIGGER try BEFORE INSERT OR UPDATE OR DELETE ON unleash_tokens.$table FOR EACH ROW EXECUTE FUNCTION public.try()");
		my ($status, undef, $stderr) = $node->psql('postgres', "BEGIN; $query; COMMIT");

		like($stderr, qr/trigger "try" on table "$table" is not trusted/, "$name: the trigger of mallory on $table is told, and refused");
		is($node->safe_psql('postgres', q{SELECT count(*), (SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory') FROM tried}), '0|f', "$name: it was not run, she is nobody");
		$node->safe_psql('postgres', "ALTER ROLE mallory NOSUPERUSER; TRUNCATE tried; DROP TRIGGER try ON unleash_tokens.$table");
	}
}

# the condition of a trigger runs as who writes too, whoever owns the trigger's function, and whatever is called by way of it
as_mallory(q{
	CREATE FUNCTION condition(text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.tried VALUES (current_user);
		RETURN false;
	END $$;
	CREATE DOMAIN checked AS text CHECK (public.condition(VALUE) IS NOT NULL)});
foreach my $condition ('public.condition(new.token_name)', q{query_to_xml('SELECT public.condition(NULL)', false, false, '') IS NULL}, 'new.token_name::public.checked IS NULL')
{
	as_mallory("CREATE TRIGGER try BEFORE INSERT ON unleash_tokens.api_token FOR EACH ROW WHEN ($condition) EXECUTE FUNCTION suppress_redundant_updates_trigger()");
	my ($status, undef, $stderr) = $node->psql('postgres', $create);

	like($stderr, qr/condition of trigger "try" on table "api_token" is not trusted/, "WHEN ($condition) is refused");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM tried'), '0', 'and was not run');
	$node->safe_psql('postgres', 'TRUNCATE tried; DROP TRIGGER try ON unleash_tokens.api_token');
}
as_mallory(q{CREATE TRIGGER try BEFORE UPDATE ON unleash_tokens.api_token FOR EACH ROW
	WHEN (old.* IS NOT DISTINCT FROM new.* AND new.token_name LIKE 'no such%') EXECUTE FUNCTION suppress_redundant_updates_trigger()});
is($node->safe_psql('postgres', "SELECT unleash_tokens.update_api_token($secret, '{\"expiresAt\": null}') IS NOT NULL"), 't', 'a condition that runs nothing but operators of the server is none of these');
$node->safe_psql('postgres', 'DROP TRIGGER try ON unleash_tokens.api_token; DROP DOMAIN checked; DROP FUNCTION condition');

# what runs as its own owner borrows nothing, and what is the superuser's own is trusted
as_mallory('ALTER FUNCTION try() SECURITY DEFINER; CREATE TRIGGER try BEFORE INSERT ON unleash_tokens.api_token FOR EACH ROW EXECUTE FUNCTION public.try()');
$node->safe_psql('postgres', $create);
is($node->safe_psql('postgres', 'SELECT who FROM tried'), 'mallory', 'a function that runs as its owner is run');
$node->safe_psql('postgres', 'ALTER FUNCTION try() SECURITY INVOKER; ALTER FUNCTION try() OWNER TO postgres; TRUNCATE tried');
$node->safe_psql('postgres', $create);
is($node->safe_psql('postgres', 'SELECT who FROM tried'), 'postgres', 'one of the superuser is run as the superuser');
$node->safe_psql('postgres', 'ALTER ROLE mallory NOSUPERUSER; DROP FUNCTION try CASCADE; TRUNCATE tried');

# who owns a table has more ways than triggers
$node->safe_psql('postgres', 'ALTER TABLE unleash_tokens.api_token_event OWNER TO mallory');
my (undef, undef, $stderr) = $node->psql('postgres', $create);
like($stderr, qr/table "api_token_event" belongs to a role that is not trusted/, 'a table of somebody else is not written');
like($stderr, qr/DETAIL:.*role "mallory"/, 'whose it is, is said');
is($node->safe_psql('postgres', 'SELECT count(*) > 0 FROM made WHERE unleash_tokens.validate_api_token(secret) IS NOT NULL'), 't', 'validation goes on');
$node->safe_psql('postgres', 'ALTER TABLE unleash_tokens.api_token_event OWNER TO postgres');
isnt($node->safe_psql('postgres', $create), '', 'given back, it is');

$node->stop;
done_testing();
