
# Copyright (c) 2026, unleash_tokens contributors

# A limit is kept exactly: however many sessions ask, no more uses pass than its burst and what time gives, and no fewer.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

use UsageTest;

# ---- A server whose time of day can be set -------------------------------------

my $clock = PostgreSQL::Test::Utils::tempdir_short() . '/clock';
system('cc', '-shared', '-fPIC', "-DCONTROL=\"$clock\"", '-o', "$clock.so", "$FindBin::RealBin/faults/clock.c") == 0
  or die 'could not build the library of the other clock';

sub step_clock
{
	my ($seconds) = @_;
	open my $file, '>', "$clock.new" or die $!;
	print $file "$seconds\n";
	close $file;
	rename "$clock.new", $clock or die $!;
	return;
}

my $node = PostgreSQL::Test::Cluster->new('rate');
$node->init;
$node->append_conf('postgresql.conf', "$_\n") foreach "shared_preload_libraries = 'unleash_tokens'", 'unleash_tokens.flush_interval = 3600',
  'autovacuum = off', 'unleash_tokens.rate_slots = 63';

# as the server is started, so that children of the test itself have the true time
sub start
{
	local $ENV{LD_PRELOAD} = "$clock.so";
	$node->start;
	return;
}
start();

$node->safe_psql('postgres', q{
	CREATE EXTENSION unleash_tokens;
	CREATE ROLE rate_guest;
	GRANT USAGE ON SCHEMA unleash_tokens TO rate_guest;
	SELECT unleash_tokens.set_guard_role('client', 'rate_guest');
	SELECT unleash_tokens.set_guard_role('frontend', 'rate_guest');
	CREATE TABLE secret (name text PRIMARY KEY, secret text, selector text);
	GRANT SELECT ON secret TO rate_guest;
	CREATE UNLOGGED TABLE result (run int, passed int, refused int, other text, first_at timestamptz, last_at timestamptz);
	CREATE FUNCTION make(name text, rate jsonb, type text DEFAULT 'client') RETURNS void LANGUAGE sql AS $$
		WITH made AS (SELECT unleash_tokens.create_api_token(jsonb_build_object('type', make.type, 'tokenName', make.name, 'rateLimit', make.rate)) ->> 'secret' AS s)
		INSERT INTO secret SELECT make.name, s, substr(s, strpos(s, '.v2_') + 4, 22) FROM made $$;
	CREATE FUNCTION change(name text, rate jsonb) RETURNS void LANGUAGE sql AS $$
		SELECT unleash_tokens.update_api_token((SELECT selector FROM secret AS s WHERE s.name = change.name), jsonb_build_object('rateLimit', rate)) $$;
	-- One use, rolled back: + when it passed, - when it was too much, else the SQLSTATE.
	CREATE FUNCTION use(secret text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM unleash_tokens.guard(secret);
		RAISE EXCEPTION USING ERRCODE = 'UT000';
	EXCEPTION WHEN OTHERS THEN
		RETURN CASE WHEN SQLSTATE = 'UT000' THEN '+' WHEN SQLERRM = 'the API token is used too often' AND SQLSTATE = '53400' THEN '-' ELSE SQLSTATE END;
	END $$;
	CREATE FUNCTION uses(name text, times int) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		said text := '';
	BEGIN
		FOR i IN 1 .. times LOOP
			said := said || use((SELECT s.secret FROM secret AS s WHERE s.name = uses.name));
		END LOOP;
		RETURN said;
	END $$;
	-- As many as there is time for, in this session.
	CREATE FUNCTION use_between(run int, name text, start timestamptz, stop timestamptz) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		key text := (SELECT s.secret FROM secret AS s WHERE s.name = use_between.name);
		r result;
		said text;
	BEGIN
		r := ROW(run, 0, 0, '', NULL, NULL);
		PERFORM pg_sleep(extract(epoch FROM start - clock_timestamp()));
		r.first_at := clock_timestamp();
		WHILE clock_timestamp() < stop LOOP
			r.last_at := clock_timestamp();
			said := use(key);
			IF said = '+' THEN r.passed := r.passed + 1;
			ELSIF said = '-' THEN r.refused := r.refused + 1;
			ELSE r.other := said; END IF;
		END LOOP;
		INSERT INTO result SELECT r.*;
	END $$});

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub uses { return sql("SELECT uses('$_[0]', $_[1])"); }
sub make { return sql("SELECT make('$_[0]', '$_[1]')"); }
sub counted { return $node->safe_psql('postgres', "SELECT $_[0] FROM unleash_tokens.stat"); }

# ---- One after the other -------------------------------------------------------

make('few', '{"limit": 2, "period": 3600}');
is(uses('few', 4), '++--', 'as many as the burst pass, and uses that are rolled back count');
make('burst', '{"limit": 2, "period": 3600, "burst": 5}');
is(uses('burst', 7), '+++++--', 'a burst may be larger than the limit');
is(counted('refused_rate'), 4, 'refusals are counted');
is(counted('validations'), 11, 'and so is that the secrets were right');
$node->psql('postgres', q{BEGIN; SELECT unleash_tokens.guard((SELECT secret FROM secret WHERE name = 'few'))}, stderr => \my $err);
like($err, qr/ERROR:  the API token is used too often\nDETAIL:  At most 2 uses pass at once and 2 in 3600 seconds; one more passes in (17\d\d|1800) seconds\.\nHINT:  /,
	'who is refused hears when to come again');
is(sql(q{SELECT unleash_tokens.validate_api_token(secret) ->> 'tokenName' FROM secret WHERE name = 'few'}), 'few', 'what only asks is not counted');
is(sql(q{SELECT use('*:development.v2_aaaaaaaaaaaaaaaaaaaaaa_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb') || use('x')}), '2800028000', 'what is no token is none');
make('one', '{"limit": 1, "period": 3600}');
is(sql(q{BEGIN; SELECT unleash_tokens.guard(secret) ->> 'tokenName' FROM secret WHERE name = 'one'; SELECT unleash_tokens.guard(secret) ->> 'tokenName' FROM secret WHERE name = 'one'; COMMIT}),
	"one\none", 'the token that a transaction runs for is counted once');
is(uses('one', 1), '-', 'and stays counted');

# ---- A limit that is changed ---------------------------------------------------

make('changed', '{"limit": 1000, "period": 1}');
is(uses('changed', 500), '+' x 500, 'of a high limit half is used');
sql(q{SELECT change('changed', '{"limit": 2, "period": 3600}')});
like(uses('changed', 9), qr/^\+{1,2}-+$/, 'a limit that was lowered holds at once');
sql(q{SELECT change('few', '{"limit": 20, "period": 1, "burst": 1}')});
uses('few', 1);
sleep 0.2;
is(substr(uses('few', 2), 0, 1), '+', 'one that was raised too: from the next use on nobody waits for the hour of the old one');
sql(q{SELECT change('few', NULL)});
is(uses('few', 50), '+' x 50, 'without a limit all pass');

# ---- Exactness -----------------------------------------------------------------

# The number of uses that pass from a first to a last moment is bounded on both sides, whatever the limit is and however many ask.
sub race
{
	my ($run, $sessions, $limit, $period, $burst, $seconds) = @_;
	my @running;

	make("race $run", qq({"limit": $limit, "period": $period, "burst": $burst}));
	my ($start, $stop) = map { sprintf '%.3f', $_ } (time() + 0.7, time() + 0.7 + $seconds);
	foreach (1 .. $sessions)
	{
		my $out = '';
		push @running, IPC::Run::start([ 'psql', '-XAtqd', $node->connstr('postgres'), '-c', "SELECT use_between($run, 'race $run', to_timestamp($start), to_timestamp($stop))" ],
			'<', \undef, '>', \$out, '2>&1');
	}
	$_->finish foreach @running;
	my ($count, $passed, $refused, $other, $most, $least) = split /\|/, sql(qq{
		SELECT count(*), sum(passed), sum(refused), max(other),
			floor($burst + extract(epoch FROM max(last_at) - min(first_at) + interval '50 ms') * $limit / $period),
			floor($burst + extract(epoch FROM min(last_at) - max(first_at) - interval '50 ms') * $limit / $period) - 1
		FROM result WHERE run = $run});
	note("$sessions sessions, $limit in $period s, burst $burst: $passed passed of " . ($passed + $refused) . ", from $least to $most were due");
	ok($count == $sessions && $other eq '' && $passed <= $most && $passed >= ($refused == 0 ? 0 : $least), "exact: $limit in $period s, burst $burst, $sessions sessions");
	return;
}
my $run = 0;
race(++$run, 8, @$_, 1.5) foreach [ 50, 1, 1 ], [ 100, 1, 100 ], [ 7, 2, 3 ], [ 300, 60, 40 ], [ 1, 86400, 25 ], [ 1, 1, 1 ];
srand($ENV{RATE_SEED} // 20261126);
race(++$run, 2 + int rand 10, 1 + int rand 200, 1 + int rand 3, 1 + int rand 60, 1) foreach 1 .. 4;

# ---- The clock of the server is set --------------------------------------------

make('stepped', '{"limit": 1, "period": 3600, "burst": 2}');
make('quick', '{"limit": 20, "period": 1, "burst": 1}');
is(uses('stepped', 3), '++-', 'before the clock is set');
foreach my $step (7200, -7200, 86400 * 400)
{
	step_clock($step);
	cmp_ok(abs(sql('SELECT extract(epoch FROM clock_timestamp())::bigint') - time() - $step), '<', 10, "the clock is off by $step s");
	is(uses('stepped', 2), '--', 'that lets nothing pass before its time');
	sleep 0.2;
	is(substr(uses('quick', 1), 0, 1), '+', 'nor holds anything up');
}
step_clock(0);

# ---- No room -------------------------------------------------------------------

sql('SELECT unleash_tokens.stat_reset()');
is(counted('refused_rate + refused_uncounted'), 0, 'counters can be reset');
$node->stop;
start();
is(uses('stepped', 1) . uses('one', 1), '++', 'what was counted is gone after a restart');

sql(q{SELECT make('slow ' || i, '{"limit": 1, "period": 86400}') FROM generate_series(1, 63) AS i});
like(sql(q{SELECT string_agg(uses('slow ' || i, 1), '' ORDER BY i) FROM generate_series(1, 61) AS i}), qr/^\+{61}$/, 'as many tokens as there are slots are counted');
is(sql(q{SELECT uses('slow 62', 1) || uses('slow 63', 1)}), '5340053400', 'one more is refused: none of the others may be forgotten');
is(sql(q{SELECT string_agg(uses('slow ' || i, 1), '') FROM generate_series(1, 61) AS i}), '-' x 61, 'and none was');
is(counted('refused_uncounted') . '|' . counted('refused_rate'), '2|61', 'that is counted by itself');
is(uses('stepped', 2), '+-', 'also of a token that was counted before');
is(sql(q{SELECT status || ': ' || detail FROM unleash_tokens.doctor() WHERE check_name = 'rate_slots'}) =~ s/since .*, there/since (time), there/r,
	'warning: 2 uses were refused since (time), there being no room to count them.', 'doctor() says so');
$node->psql('postgres', q{BEGIN; SELECT unleash_tokens.guard((SELECT secret FROM secret WHERE name = 'slow 62'))}, stderr => \$err);
like($err, qr/ERROR:  uses of the API token cannot be counted, and it has a limit\nDETAIL:  There is no room for another token now\./, 'and so is who is refused');
$node->stop;
start();
sql(q{SELECT make('swift ' || i, '{"limit": 1000000, "period": 1}') FROM generate_series(1, 500) AS i});
is(sql(q{SELECT string_agg(uses('swift ' || i, 2), '') FROM generate_series(1, 500) AS i}), '+' x 1000, 'a token whose time has passed makes room for another');
is(counted('refused_uncounted'), 0, 'so that nobody is refused');

# ---- The limit of a type, and no memory ----------------------------------------

make('plain', 'null');
sql(q{SELECT make('web', NULL, 'frontend')});
sql(q{ALTER SYSTEM SET unleash_tokens.rate_limit_frontend = '3/1h burst 2'});
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('unleash_tokens.rate_limit_frontend') <> ''});
is(uses('web', 3) . uses('plain', 3), '++-+++', 'a type has its limit, another has none');
$node->psql('postgres', q{BEGIN; SELECT unleash_tokens.guard((SELECT secret FROM secret WHERE name = 'web'))}, stderr => \$err);
like($err, qr/At most 2 uses pass at once and 3 in 3600 seconds/, 'which a refusal names');
sql(q{SELECT change('web', '{"limit": 5, "period": 3600}')});
is(uses('web', 5), '+----', 'a limit of its own goes before, and what was used stays used');
$node->psql('postgres', q{SET ROLE rate_guest; SET unleash_tokens.rate_limit_frontend = ''}, stderr => \$err);
like($err, qr/permission denied to set parameter/, 'who is bound by it cannot set it');

$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', q{''});
$node->stop;
$node->start;
is(uses('web', 1) . uses('plain', 1), '53400+', 'without the library preloaded a token with a limit is refused');
$node->psql('postgres', q{BEGIN; SELECT unleash_tokens.guard((SELECT secret FROM secret WHERE name = 'web'))}, stderr => \$err);
like($err, qr/DETAIL:  The library is not in shared_preload_libraries\./, 'and hears why');
is(sql(q{SELECT status FROM unleash_tokens.doctor() WHERE check_name = 'rate_counted'}), 'error', 'doctor() takes it for an error');
like(sql(q{SELECT detail FROM unleash_tokens.doctor() WHERE check_name = 'rate_counted'}), qr/token utok\S+ has a rateLimit, which cannot be counted; /, 'and names tokens');

done_testing();
