# When was a token last used?  Shown at once, written in batches, kept over a
# stop of the server, counted, and never in the way.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use UsageTest;

my $node = new_server('usage');
make_tokens($node, 20);

sub now { return $node->safe_psql('postgres', 'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint'); }

# Whether a time lies between two others.
sub between { return $_[1] ne '' && $_[0] <= $_[1] && $_[1] <= $_[2]; }

# ---- Shown at once -----------------------------------------------------------

is(stat_of($node, 'notes_held, notes_dropped, flushes, last_flush, last_error, last_error_at, stats_reset IS NOT NULL'),
	'0|0|0||||t', 'nothing has happened');
is(stat_of($node, 'stats_reset <= now()'), 't', 'and this since the start');

my $before = now();
is(validate_one($node, 1), 't', 'validate_api_token');
my $after = now();
ok(between($before, shown($node, 1), $after), 'the view shows the use');
is(stored($node, 1), '', 'the table does not have it yet');
is(held($node), 1, 'one note');

my $ms = int(shown($node, 1) / 1000);
my $seen = q{SELECT (extract(epoch FROM (t ->> 'seenAt')::timestamptz) * 1000)::bigint FROM jsonb_array_elements(};
is( $node->safe_psql('postgres', $seen . q{unleash_tokens.get_all_api_tokens() -> 'tokens') AS t WHERE t ->> 'tokenName' = 'token 1'}),
	$ms, 'the list shows it');
is( $node->safe_psql('postgres', $seen . q{unleash_tokens.get_api_tokens_by_name('token 1') -> 'tokens') AS t}),
	$ms, 'so does the look-up by name');
is( $node->safe_psql('postgres', q{SELECT count(*) FROM jsonb_array_elements(unleash_tokens.get_all_api_tokens() -> 'tokens') AS t WHERE t ->> 'seenAt' IS NOT NULL}),
	1, 'no other token was used');
is( $node->safe_psql('postgres', q{
		BEGIN;
		CREATE TEMP TABLE told (seen text);
		INSERT INTO told SELECT unleash_tokens.update_api_token(selector, '{"expiresAt": "2001-01-01T00:00:00Z"}') ->> 'seenAt' FROM secret WHERE id = 1;
		SELECT FROM unleash_tokens.purge_expired('1 day');
		INSERT INTO told SELECT e.seen FROM unleash_tokens.api_token_events, LATERAL (VALUES (data ->> 'seenAt'), (pre_data ->> 'seenAt')) AS e (seen) WHERE type <> 'api-token-created';
		SELECT string_agg(coalesce((extract(epoch FROM seen::timestamptz) * 1000)::bigint::text, '-'), ' ' ORDER BY seen) FROM told;
		ROLLBACK}),
	"$ms $ms $ms $ms -", 'so do the answer to a change, and the events of a change and a purge');

$before = now();
is(validate($node, 2, 4), 3, 'validate_api_tokens');
$after = now();
ok(between($before, shown($node, $_), $after), "the view shows the use of token $_") foreach 2 .. 4;
is(shown($node, 5), '', 'but none of a token that was not in it');

$before = shown($node, 1);
validate_one($node, 1);
cmp_ok(shown($node, 1), '>', $before, 'a later use is shown');
is(held($node), 4, 'a token has one note, however often it is used');

# ---- In every transaction ----------------------------------------------------

my $id = 5;
foreach my $level ('READ COMMITTED READ ONLY', 'REPEATABLE READ READ ONLY', 'SERIALIZABLE READ ONLY', 'REPEATABLE READ')
{
	my $session = new_session($node, 'postgres');

	$session->query_safe("BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM unleash_tokens.api_tokens");
	$session->query_safe("SELECT unleash_tokens.validate_api_token(secret) FROM secret WHERE id = $id");
	isnt(shown($node, $id), '', "$level: noted, and seen by others before its end");
	validate_one($node, $id + 1);
	is( $session->query_safe("SELECT t.seen_at IS NOT NULL FROM secret AS s JOIN unleash_tokens.api_tokens AS t USING (selector) WHERE s.id = $id + 1"),
		't', "$level: sees a use after its snapshot");
	$session->query_safe('ROLLBACK');
	isnt(shown($node, $id), '', "$level: a rollback takes nothing back");
	$session->quit;
	$id += 2;
}

# ---- Counted -----------------------------------------------------------------

$node->safe_psql('postgres', q{
	SELECT unleash_tokens.update_api_token(selector, '{"expiresAt": "2001-01-01T00:00:00Z"}') FROM secret WHERE id = 18;
	INSERT INTO unleash_tokens.project (id) VALUES ('p');
	INSERT INTO secret SELECT 21, t ->> 'secret', split_part(split_part(t ->> 'secret', '.v2_', 2), '_', 1)
	FROM unleash_tokens.create_api_token('{"type": "client", "tokenName": "scopeless", "project": "p"}') AS t;
	INSERT INTO secret SELECT 22, translate(secret, 'v', 'w'), NULL FROM secret WHERE id = 1;
	INSERT INTO secret SELECT 23, overlay(secret PLACING 'x' FROM length(secret)), NULL FROM secret WHERE id = 1 AND secret !~ 'x$';
	INSERT INTO secret SELECT 23, overlay(secret PLACING 'y' FROM length(secret)), NULL FROM secret WHERE id = 1 AND secret ~ 'x$';
	INSERT INTO secret SELECT 24, secret, selector FROM secret WHERE id = 19;
	SELECT unleash_tokens.delete_api_token(secret) FROM secret WHERE id = 19});
# behind the back of the trigger that deletes a token with its last project
$node->safe_psql('postgres', q{
	SET session_replication_role = replica;
	DELETE FROM unleash_tokens.api_token_project WHERE project = 'p'});

my $reasons = 'validations, refused_malformed, refused_unknown, refused_expired, refused_scopeless';
my $old_held = held($node);
$node->safe_psql('postgres', 'SELECT unleash_tokens.stat_reset()');
is(stat_of($node, $reasons), '0|0|0|0|0', 'stat_reset() sets the counters to zero');
is(held($node), $old_held, 'and keeps the notes');
is(validate_one($node, 1), 't', 'valid');
is(stat_of($node, $reasons), '1|0|0|0|0', 'counted as such');
is(validate_one($node, 23), 'f', 'mistyped');
is(stat_of($node, $reasons), '1|1|0|0|0', 'counted as malformed');
is(validate_one($node, 24), 'f', 'deleted');
is(stat_of($node, $reasons), '1|1|1|0|0', 'counted as unknown');
is(validate_one($node, 18), 'f', 'expired');
is(stat_of($node, $reasons), '1|1|1|1|0', 'counted as expired');
is(validate_one($node, 21), 'f', 'without a project');
is(stat_of($node, $reasons), '1|1|1|1|1', 'counted as scopeless');
is(validate($node, 1, 24), 18, 'all in one call, and once more');
is(stat_of($node, 'validations, refused_malformed + refused_unknown, refused_expired, refused_scopeless'),
	'19|6|2|2', 'are counted the same way');
is(shown($node, 18) . shown($node, 21), '', 'a refused token was not used');
is(held($node), 18, 'and has no note');

my $reset_at = stat_of($node, 'stats_reset');
$node->safe_psql('postgres', 'SELECT unleash_tokens.stat_reset()');
is(stat_of($node, "stats_reset > '$reset_at'"), 't', 'stats_reset tells when');

# ---- What a standby says -----------------------------------------------------

sub note_usage
{
	my ($which, $time) = @_;
	return $node->safe_psql('postgres', "SELECT unleash_tokens.note_usage(ARRAY(SELECT selector FROM secret WHERE id = $which), ARRAY[$time])");
}
my $noted = shown($node, 1);
is(note_usage(1, q{'2001-01-01'::timestamptz}), 1, 'an old use is taken');
is(shown($node, 1), $noted, 'and changes nothing');
$before = now();
is(note_usage(1, q{'2090-01-01'::timestamptz}), 1, 'a use of the future');
ok(between($before, shown($node, 1), now()), 'is one of now');
is($node->psql('postgres', q{SELECT unleash_tokens.note_usage(ARRAY['a', 'b'], ARRAY[now()])}), 3,
	'arrays of different lengths are refused');
is( $node->safe_psql('postgres', q{SELECT unleash_tokens.note_usage(ARRAY[NULL, '', 'no selector'], ARRAY[now(), now(), now()])}),
	0, 'what is no selector is not noted');
is(held($node), 18, 'at all');

# ---- Processes, and written after the interval -------------------------------

is( $node->safe_psql('postgres', q{SELECT count(*), count(datname) FROM pg_stat_activity WHERE backend_type = 'unleash_tokens launcher'}),
	'1|0', 'pg_stat_activity names the launcher, which has no database');

$node->safe_psql('postgres', q{
	UPDATE unleash_tokens.api_token SET seen_at = '2090-01-01 UTC' FROM secret AS s WHERE s.selector = api_token.selector AND id = 2;
	UPDATE unleash_tokens.api_token SET seen_at = '2001-01-01 UTC' FROM secret AS s WHERE s.selector = api_token.selector AND id = 3});
my %expected = map { $_ => shown($node, $_) } 1, 3 .. 17;
is(shown($node, 2), stored($node, 2), 'a stored time of the future is newer than a note');
hold_workers($node);
is(stat_of($node, 'flushes'), 0, 'nothing was written yet');
flush_every($node, 1);
isnt(worker_pid($node), '',
	'pg_stat_activity names the worker, after the interval that SIGHUP has shortened');
$before = shown($node, 6);
validate_one($node, 6);
cmp_ok(shown($node, 6), '>', $before, 'a use while the worker writes an older one');
$expected{6} = shown($node, 6);
release_workers($node);
wait_until_written($node, 'all is written');
is(stored($node, $_), $expected{$_}, "token $_: what was shown") foreach sort { $a <=> $b } keys %expected;
is( $node->safe_psql('postgres', q{SELECT seen_at = '2090-01-01 UTC' FROM unleash_tokens.api_token JOIN secret USING (selector) WHERE id = 2}),
	't', 'a stored time of the future stays');
is(stored($node, 18) . stored($node, 21), '', 'nothing for a refused token');
is(stat_of($node, 'flushes > 0, last_flush > stats_reset, last_error IS NULL, notes_dropped'), 't|t|t|0', 'stat tells of it');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'unleash_tokens flush worker'}),
	'the worker is gone');
$node->safe_psql('postgres', 'DROP FUNCTION hold CASCADE; DROP TABLE holding');

is(note_usage(1, q{'2001-01-01'::timestamptz}), 1, 'a use older than the stored one');
is(shown($node, 1), $expected{1}, 'is not shown');
wait_until_written($node, 'its note goes');
is(stored($node, 1), $expected{1}, 'and the stored time does not go back');

# a token that is deleted while it is noted
flush_every($node, 3600);
$node->restart;
validate($node, 4, 5);
$node->safe_psql('postgres', 'SELECT unleash_tokens.delete_api_token(secret) FROM secret WHERE id = 4');
$expected{5} = shown($node, 5);
flush_every($node, 1);
wait_until_written($node, 'the note of a deleted token goes');
is(stored($node, 5), $expected{5}, 'the others are written');
is(stat_of($node, 'notes_dropped, last_error IS NULL'), '0|t', 'this is no error');

# a row that is locked: the worker passes it over, and is not held up
my $locker = new_session($node, 'postgres');
$locker->query_safe('BEGIN; SELECT FROM unleash_tokens.api_token WHERE selector = (SELECT selector FROM secret WHERE id = 7) FOR UPDATE');
is(validate($node, 7, 9), 3, 'a token that is locked is validated');
ok($node->poll_query_until('postgres', 'SELECT notes_held = 1 OR last_error IS NOT NULL FROM unleash_tokens.stat'), 'the others are written');
is(stat_of($node, 'notes_held, last_error IS NULL'), '1|t', 'and this is no error');
$locker->query_safe('COMMIT');
$locker->quit;
wait_until_written($node, 'the note of the locked one is written later');

# A setting of the database that would have the worker write nothing.
$node->safe_psql('postgres', q{
	ALTER DATABASE postgres SET default_transaction_read_only = on;
	ALTER DATABASE postgres SET default_transaction_isolation = 'repeatable read'});
$before = stored($node, 6);
is(validate_one($node, 6), 't', 'where transactions are READ ONLY by default');
wait_until_written($node, 'notes are written all the same');
cmp_ok(stored($node, 6), '>', $before, 'and stored');
$node->safe_psql('postgres', q{
	BEGIN READ WRITE;
	ALTER DATABASE postgres RESET ALL;
	COMMIT});

# ---- HOT ---------------------------------------------------------------------

make_tokens($node, 3000);
my $updates = 'SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = $$unleash_tokens.api_token$$::regclass';
foreach my $round (1 .. 3)
{
	my ($all, $hot) = split /\|/, $node->safe_psql('postgres', $updates);

	validate($node, 1, 3000);
	wait_until_written($node, "round $round: written");
	# the worker tells the statistics before it forgets the notes
	my ($all_after, $hot_after) = split /\|/, $node->safe_psql('postgres', $updates);
	cmp_ok($all_after - $all, '>=', 3000, "round $round: each row updated");
	cmp_ok(($hot_after - $hot) / ($all_after - $all), '>', 0.9, "round $round: HOT")
	  or diag(sprintf '%d of %d', $hot_after - $hot, $all_after - $all);
}
my $size = $node->safe_psql('postgres', q{SELECT pg_indexes_size('unleash_tokens.api_token')});
validate($node, 1, 3000);
wait_until_written($node, 'another round');
is($node->safe_psql('postgres', q{SELECT pg_indexes_size('unleash_tokens.api_token')}), $size, 'no index grew');

# ---- A clean stop keeps all --------------------------------------------------

flush_every($node, 3600);
$node->restart;
validate($node, 1, 1000);
is(held($node), 1000, 'notes that were not written');
my $all_shown = q{SELECT md5(string_agg(s.id || ' ' || extract(epoch FROM t.seen_at), ',' ORDER BY s.id))
	FROM secret AS s JOIN unleash_tokens.%s AS t USING (selector)};
my $shown = $node->safe_psql('postgres', sprintf $all_shown, 'api_tokens');
isnt($node->safe_psql('postgres', sprintf $all_shown, 'api_token'), $shown, 'are not in the table');
$node->stop('fast');
ok(-s noted_file($node), 'after a clean stop there is a file');
ok(!-e noted_file($node) . '.tmp', 'and no other');
$node->start;
ok(!-e noted_file($node), 'which is gone after the start');
is(held($node), 1000, 'all notes are back');
is($node->safe_psql('postgres', sprintf $all_shown, 'api_tokens'), $shown, 'and shown as before');
isnt($node->safe_psql('postgres', sprintf $all_shown, 'api_token'), $shown, 'but still not in the table');
$node->restart;
is(held($node), 1000, 'once more');
flush_every($node, 1);
wait_until_written($node, 'they are written in the end');
is($node->safe_psql('postgres', sprintf $all_shown, 'api_token'), $shown, 'as they were shown');
$node->stop('fast');
$node->start;
is(held($node), 0, 'without notes nothing comes back');

# ---- A crash loses at most what was not written ------------------------------

my $count = $node->safe_psql('postgres', 'SELECT count(*) FROM unleash_tokens.api_token');
foreach my $crash ('immediate', 'kill')
{
	flush_every($node, 1);
	validate($node, 1, 10);
	wait_until_written($node, "$crash: some are written");
	$node->safe_psql('postgres', 'SELECT txid_current(); CHECKPOINT');
	my %written = map { $_ => stored($node, $_) } 1 .. 20;
	flush_every($node, 3600);
	$node->restart;
	validate($node, 11, 20);
	my %unwritten = map { $_ => shown($node, $_) } 11 .. 20;
	$crash eq 'kill' ? $node->kill9 : $node->stop('immediate');
	start_again($node);
	is($node->safe_psql('postgres', 'SELECT count(*) FROM unleash_tokens.api_token'), $count, "$crash: no token is lost");
	is(validate($node, 21, 3000), 2980, "$crash: all are valid");
	is(join(' ', map { shown($node, $_) } 1 .. 10), join(' ', map { $written{$_} } 1 .. 10), "$crash: what was written stays");
	my @wrong = grep { my $is = shown($node, $_); $is ne $written{$_} && $is ne $unwritten{$_} } 11 .. 20;
	is("@wrong", '', "$crash: the others are as before or as noted");
}

# ---- A spoilt file does not hinder a start -----------------------------------

sub spoil
{
	my ($how, $spoiler, $most) = @_;

	flush_every($node, 3600);
	$node->restart;
	validate($node, 1, 100);
	$node->stop('fast');
	my $file = noted_file($node);
	my $content = slurp_file($file);
	unlink $file;
	$spoiler->($file, $content);
	$node->start;
	cmp_ok(held($node), '<=', $most // 100, "$how: the server starts");
	flush_every($node, 1);
	is(validate_one($node, 2999), 't', "$how: tokens are validated");
	wait_until_written($node, "$how: and notes are written");
	is(stat_of($node, 'last_error'), '', "$how: without an error");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM unleash_tokens.api_token WHERE seen_at > clock_timestamp()'),
		0, "$how: no token is used in the future");
	return;
}

sub write_bytes
{
	my ($file, $bytes) = @_;

	open(my $handle, '>:raw', $file) or die "could not write $file: $!";
	print $handle $bytes;
	close $handle;
	return;
}

$node->safe_psql('postgres', 'DELETE FROM unleash_tokens.api_token WHERE seen_at > clock_timestamp()');
my $header = 8;    # bytes in front of the notes: what it is, and the size of a note
spoil('an empty file', sub { write_bytes($_[0], '') }, 0);
spoil('half a word', sub { write_bytes($_[0], substr $_[1], 0, 2) }, 0);
spoil('a file cut in a note', sub { write_bytes($_[0], substr $_[1], 0, length($_[1]) / 2 + 7) });
spoil('other bytes', sub { write_bytes($_[0], join '', map { chr($_ * 7 % 256) } 1 .. 5000) }, 0);
spoil('zeros', sub { write_bytes($_[0], substr($_[1], 0, $header) . "\0" x 4000) }, 0);
spoil('ones', sub { write_bytes($_[0], substr($_[1], 0, $header) . "\xff" x 4000) }, 0);
spoil('notes of the far future', sub {
	my ($file, $content) = @_;
	my $note = (length($content) - $header) / 100;
	substr($content, $header + $_ * $note - 8, 8) = pack('q', 2**61) foreach 1 .. 100;
	write_bytes($file, $content);
});
spoil('notes of another size', sub { write_bytes($_[0], substr($_[1], 0, 4) . pack('L', 8 + unpack 'L', substr $_[1], 4, 4) . substr($_[1], 8)) }, 0);
spoil('a file of a few kilobytes more', sub { write_bytes($_[0], $_[1] . "\1\2\3" x 1000) });
spoil('a directory', sub { mkdir $_[0] });
rmdir noted_file($node);
$node->stop;

# ---- Little memory -----------------------------------------------------------

my $small = new_server('small', 'unleash_tokens.usage_slots = 64');
make_tokens($small, 5000);
validate($small, 1, 20);
is(stat_of($small, 'notes_held + notes_dropped, flushes'), '20|0', 'less than half full');
validate($small, 21, 84);
ok($small->poll_query_until('postgres', 'SELECT flushes > 0 FROM unleash_tokens.stat'),
	'what fills half of the memory is written before the interval has passed');
wait_until_written($small, 'and all of it');
# a note may be dropped while a worker is writing it
cmp_ok($small->safe_psql('postgres', 'SELECT 84 - count(*) FROM unleash_tokens.api_token WHERE seen_at IS NOT NULL'),
	'<=', stat_of($small, 'notes_dropped'), 'a token that has no time had a note that was dropped, and counted');

$locker = new_session($small, 'postgres');
$locker->query_safe('BEGIN; SELECT count(*) FROM (SELECT FROM unleash_tokens.api_token FOR UPDATE) AS t');
$small->safe_psql('postgres', 'SELECT unleash_tokens.stat_reset()');
my $noted_only = q{FROM secret AS s JOIN unleash_tokens.api_tokens AS v USING (selector) JOIN unleash_tokens.api_token AS t USING (selector)
	WHERE v.seen_at IS DISTINCT FROM t.seen_at};
# token 1 is used again and again
$small->safe_psql('postgres', q{
	SELECT count(*) FROM unleash_tokens.validate_api_tokens(ARRAY(
		SELECT unnest(ARRAY[s.secret, hot.secret]) FROM secret AS s, secret AS hot WHERE hot.id = 1 AND s.id > 1 ORDER BY s.id))});
is(held($small), 64, 'every place is taken');
is(stat_of($small, 'validations, notes_dropped'), 2 * 4999 . '|' . (5000 - 64), 'each note that went is counted');
is($small->safe_psql('postgres', "SELECT count(*) $noted_only"), 64, 'as many tokens are shown as used');
is($small->safe_psql('postgres', "SELECT count(*) $noted_only AND id = 1"), 1, 'the one that is used all the time is among them');
cmp_ok($small->safe_psql('postgres', "SELECT min(id) $noted_only AND id > 1"), '>', 4700, 'the others are the last ones: the oldest went');
my $newest = $small->safe_psql('postgres', "SELECT string_agg(id || ' ' || v.seen_at, ',' ORDER BY id) $noted_only");
$locker->query_safe('COMMIT');
wait_until_written($small, 'after the lock they are written');
is( $small->safe_psql('postgres', q{
		SELECT string_agg(id || ' ' || seen_at, ',' ORDER BY id) FROM (
			SELECT * FROM unleash_tokens.api_token WHERE seen_at IS NOT NULL ORDER BY seen_at DESC LIMIT 64) AS t JOIN secret USING (selector)}),
	$newest, 'all 64');
$locker->quit;
# fewer places at the next start than there are notes
$small->append_conf('postgresql.conf', "unleash_tokens.usage_slots = 65536\n");
$small->restart;
validate($small, 1, 5000);
$small->append_conf('postgresql.conf', "unleash_tokens.usage_slots = 64\n");
$small->restart;
cmp_ok(stat_of($small, 'notes_held + notes_dropped'), '<=', 5000, 'a file with more notes than there are places');
wait_until_written($small, 'is no trouble');

# ---- More notes than a worker writes in its time ---------------------------------

$small->append_conf('postgresql.conf', "unleash_tokens.usage_slots = 131072\n");
$small->restart;
make_tokens($small, 70000);
validate($small, 1, 70000);
# less than half full soon, and the next interval is an hour away
wait_until_written($small, 'one worker after the other writes them all');
is(stat_of($small, 'notes_dropped'), 0, 'none was dropped');
is($small->safe_psql('postgres', 'SELECT count(*) FROM secret JOIN unleash_tokens.api_token USING (selector) WHERE seen_at IS NULL'), 0, 'every token has its time');

# ---- Events of what is gone --------------------------------------------------

foreach my $gone (q{SELECT FROM unleash_tokens.delete_api_token((SELECT unleash_tokens.validate_api_token(secret) ->> 'selector' FROM scoped))},
	q{DELETE FROM unleash_tokens.project WHERE id = 'p'; SELECT FROM scoped WHERE unleash_tokens.validate_api_token(secret) IS NULL})
{
	is( $small->safe_psql('postgres', qq{
		BEGIN;
		INSERT INTO unleash_tokens.project (id) VALUES ('p');
		CREATE TEMP TABLE scoped AS SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "scoped", "project": "p"}') ->> 'secret' AS secret;
		SELECT FROM scoped WHERE unleash_tokens.validate_api_token(secret) IS NULL;
		$gone;
		SELECT pre_data ->> 'seenAt' IS NOT NULL FROM unleash_tokens.api_token_events WHERE type = 'api-token-deleted';
		ROLLBACK}), 't', 'so does the event of a token that is deleted: ' . $gone);
}
$small->stop;

# ---- Without shared_preload_libraries ----------------------------------------

my $plain = PostgreSQL::Test::Cluster->new('plain');
$plain->init;
$plain->append_conf('postgresql.conf', "log_line_prefix = '%p '\n");
$plain->start;
$plain->safe_psql('postgres', 'CREATE EXTENSION unleash_tokens');
make_tokens($plain, 3);
my $warning = qr/WARNING:  uses of API tokens are not recorded/;
unlike(slurp_file($plain->logfile), $warning, 'nothing was used, nothing is said');
foreach my $backend (1 .. 2)
{
	my $offset = -s $plain->logfile;
	my ($stdout, $stderr) = ('', '');

	$plain->psql('postgres', q{
			SET client_min_messages = debug1;
			BEGIN READ ONLY;
			SELECT unleash_tokens.validate_api_token('nonsense');
			SELECT unleash_tokens.validate_api_token(secret) IS NOT NULL FROM secret;
			COMMIT;
			SELECT count(*) FROM unleash_tokens.validate_api_tokens(ARRAY(SELECT secret FROM secret));
			SHOW client_min_messages},
		stdout => \$stdout, stderr => \$stderr);
	is($stdout, "\nt\nt\nt\n3\ndebug1", "backend $backend: tokens are valid");
	is(() = $stderr =~ /not recorded/g, 0, "backend $backend: the client hears nothing of it");
	is(() = slurp_file($plain->logfile, $offset) =~ /$warning/g, 1, "backend $backend: the log once");
}
is($plain->safe_psql('postgres', 'SELECT count(*) FROM unleash_tokens.api_tokens WHERE seen_at IS NOT NULL'), 0, 'no token has a time');
is($plain->safe_psql('postgres', q{SELECT count(*) FROM jsonb_array_elements(unleash_tokens.get_all_api_tokens() -> 'tokens') AS t WHERE t -> 'seenAt' = 'null'}),
	3, 'in the list neither');
$plain->safe_psql('postgres', q{UPDATE unleash_tokens.api_token SET seen_at = '2001-01-01 UTC'});
is($plain->safe_psql('postgres', q{SELECT count(*) FROM unleash_tokens.api_tokens WHERE seen_at = '2001-01-01 UTC'}), 3, 'but for those that were there');
is($plain->safe_psql('postgres', 'SELECT * FROM unleash_tokens.stat'), '|' x 15, 'stat knows nothing');
is($plain->safe_psql('postgres', 'SELECT unleash_tokens.stat_reset()'), '', 'stat_reset() has nothing to do');
is($plain->psql('postgres', q{SELECT unleash_tokens.note_usage(ARRAY['0123456789012345678901'], ARRAY[now()])}), 0, 'nor has note_usage()');
is($plain->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'unleash'}), 0, 'there are no processes');
$plain->stop;

done_testing();
