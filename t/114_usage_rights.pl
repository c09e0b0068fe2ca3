# The worker that writes last-use times is a superuser, and the table may have
# triggers, checks and policies of others: none of them gets more than its owner has.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UsageTest;

my $node = new_server('rights', 'unleash_tokens.flush_interval = 1');
make_tokens($node, 600);
$node->safe_psql('postgres', q{
	CREATE ROLE mallory LOGIN;
	GRANT USAGE ON SCHEMA unleash_tokens TO mallory;
	GRANT CREATE ON SCHEMA public TO mallory;
	GRANT TRIGGER ON unleash_tokens.api_token TO mallory});

sub as_mallory
{
	my ($query) = @_;
	my ($status, undef, $stderr) = $node->psql('postgres', $query, connstr => $node->connstr('postgres') . ' user=mallory');

	is($status, 0, 'mallory may do that') or diag($stderr);
	return;
}

sub is_nobody
{
	my ($test) = @_;
	is($node->safe_psql('postgres', q{SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = 'mallory'}), 'f', $test);
	return;
}

# A clean start for the next attempt; the last one may have made the worker wait.
sub start_anew
{
	$node->safe_psql('postgres', 'SELECT unleash_tokens.stat_reset()');
	$node->reload;
	return;
}

# All that somebody who runs as a superuser would do to become one; each attempt
# is told in a table of his own.
as_mallory(q{
	CREATE TABLE tried (what text, outcome text, who text);
	CREATE FUNCTION try() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
	DECLARE
		attempt text;
		what text[] := ARRAY['ALTER ROLE mallory SUPERUSER', 'GRANT postgres TO mallory', 'SET LOCAL ROLE postgres', 'RESET ROLE',
			'RESET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION postgres', 'COPY public.tried TO PROGRAM ''true''',
			'CREATE TEMP TABLE t ()', 'DECLARE c CURSOR WITH HOLD FOR SELECT 1', 'UPDATE pg_authid SET rolsuper = true'];
	BEGIN
		FOREACH attempt IN ARRAY what LOOP
			BEGIN
				EXECUTE attempt;
				INSERT INTO public.tried VALUES (attempt, 'done', current_user);
			EXCEPTION WHEN OTHERS THEN
				INSERT INTO public.tried VALUES (attempt, SQLSTATE, current_user);
			END;
		END LOOP;
		RETURN NULL;
	END $$});

# ---- Who may put a trigger on the table ---------------------------------------------

as_mallory('CREATE TRIGGER try AFTER UPDATE ON unleash_tokens.api_token EXECUTE FUNCTION public.try()');
is(validate($node, 1, 100), 100, 'a trigger of somebody who has TRIGGER on the table');
ok($node->poll_query_until('postgres', 'SELECT last_error IS NOT NULL OR notes_held = 0 FROM unleash_tokens.stat'), 'the worker sees it');
is_nobody('who is no superuser then');
like(stat_of($node, 'last_error'), qr/trigger "try" on table "api_token" is not trusted/, 'it is not run, which is told');
is($node->safe_psql('postgres', 'SELECT count(*) FROM tried'), 0, 'nothing was tried');
is(held($node), 100, 'the notes stay');
as_mallory('ALTER FUNCTION try() SECURITY DEFINER');
start_anew();
wait_until_written($node, 'a function that runs as its owner is run');
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT who, ' ') FROM tried}), 'mallory', 'as its owner');
is_nobody('who is no superuser then');
$node->safe_psql('postgres', 'TRUNCATE tried; ALTER FUNCTION try() SECURITY INVOKER; ALTER TABLE unleash_tokens.api_token DISABLE TRIGGER try');
is(validate($node, 1, 100), 100, 'a trigger that is disabled');
wait_until_written($node, 'is in no one\'s way');
$node->safe_psql('postgres', 'ALTER TABLE unleash_tokens.api_token ENABLE TRIGGER try; GRANT postgres TO mallory');
is(validate($node, 1, 100), 100, 'the trigger of somebody who may act as the table\'s owner');
wait_until_written($node, 'is run');
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT who, ' ') FROM tried}), 'postgres', 'as the table\'s owner');
$node->safe_psql('postgres', 'REVOKE postgres FROM mallory; ALTER ROLE mallory NOSUPERUSER; TRUNCATE tried');

# ---- Who owns it -----------------------------------------------------------------------

$node->safe_psql('postgres', 'ALTER TABLE unleash_tokens.api_token OWNER TO mallory');
start_anew();
is(validate($node, 1, 600), 600, 'a trigger of the table\'s owner');
wait_until_written($node, 'the notes are written');
is($node->safe_psql('postgres', 'SELECT count(*) FROM secret JOIN unleash_tokens.api_token USING (selector) WHERE seen_at IS NULL'), 0, 'all of them');
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT who, ' ') FROM tried}), 'mallory', 'the trigger runs as the owner');
is($node->safe_psql('postgres', q{SELECT count(*), string_agg(DISTINCT what, ', ') FILTER (WHERE outcome = 'done') FROM tried}) =~ s/^[1-9]\d*//r, '|',
	'and nothing it tries is done');
is_nobody('he is no superuser then');

# what a trigger sets is gone with its statement
$node->safe_psql('postgres', 'TRUNCATE tried');
as_mallory(q{
	DROP TRIGGER try ON unleash_tokens.api_token;
	CREATE FUNCTION set() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.tried VALUES ('work_mem', current_setting('work_mem'));
		PERFORM set_config('work_mem', '77MB', false);
		RETURN NULL;
	END $$;
	CREATE TRIGGER set AFTER UPDATE ON unleash_tokens.api_token EXECUTE FUNCTION public.set()});
is(validate($node, 1, 600), 600, 'a trigger that changes a setting');
wait_until_written($node, 'the notes are written');
is($node->safe_psql('postgres', q{SELECT count(*) > 1, count(*) FILTER (WHERE outcome = '77MB') FROM tried}), 't|0', 'the next batch does not see it');
as_mallory('DROP TRIGGER set ON unleash_tokens.api_token');

# what is put off to the end of the transaction would not run as the owner any more
as_mallory(q{
	CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ALTER ROLE mallory SUPERUSER; RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON unleash_tokens.api_token
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.late()});
start_anew();
is(validate($node, 1, 100), 100, 'a deferred trigger');
ok($node->poll_query_until('postgres', 'SELECT last_error IS NOT NULL OR notes_held = 0 FROM unleash_tokens.stat'), 'the worker sees it');
is_nobody('the owner is no superuser then');
like(stat_of($node, 'last_error'), qr/deferred trigger/, 'it is refused, which is told');
is(held($node), 100, 'the notes stay');
as_mallory('DROP TRIGGER late ON unleash_tokens.api_token');
start_anew();
wait_until_written($node, 'until it is gone');

# an expression of a CHECK constraint
as_mallory(q{
	CREATE FUNCTION check_it(text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.tried VALUES ('check', NULL, current_user);
		ALTER ROLE mallory SUPERUSER;
		RETURN true;
	EXCEPTION WHEN insufficient_privilege THEN
		RETURN true;
	END $$;
	ALTER TABLE unleash_tokens.api_token ADD CONSTRAINT mine CHECK (public.check_it(selector)) NOT VALID});
is(validate($node, 1, 100), 100, 'a check of the owner');
wait_until_written($node, 'the notes are written');
is_nobody('the owner is no superuser then');
as_mallory('ALTER TABLE unleash_tokens.api_token DROP CONSTRAINT mine');

# rows that the owner's own policies would hide from him
as_mallory('ALTER TABLE unleash_tokens.api_token FORCE ROW LEVEL SECURITY, ENABLE ROW LEVEL SECURITY');
start_anew();
is(validate($node, 1, 100), 100, 'row security that is forced upon the owner');
wait_for_error($node, 'row-level security', 'is told');
is(held($node), 100, 'and no note is taken for one of a row that is gone');
as_mallory('ALTER TABLE unleash_tokens.api_token DISABLE ROW LEVEL SECURITY');
start_anew();
wait_until_written($node, 'without it they are written');

# rights the owner has taken from himself
as_mallory('REVOKE UPDATE ON unleash_tokens.api_token FROM mallory');
start_anew();
is(validate($node, 1, 100), 100, 'an owner who has no right to write');
wait_for_error($node, 'permission denied', 'is told');
is(held($node), 100, 'the notes stay');
as_mallory('GRANT UPDATE ON unleash_tokens.api_token TO mallory');
start_anew();
wait_until_written($node, 'when he has it again they are written');

$node->stop;
done_testing();
