# What last went wrong is told in every database, whatever its encoding and that
# of the database it went wrong in.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UsageTest;

my $node = new_server('errors', 'unleash_tokens.flush_interval = 1');

# The message of each: a character of the database's encoding, so often that
# its bytes do not come out even with the room there is for them.
my %byte_of = (UTF8 => 'E38182', LATIN1 => 'E9', EUC_JP => 'A4A2', SQL_ASCII => 'E9');
my %in_utf8 = (UTF8 => "\xE3\x81\x82", LATIN1 => "\xC3\xA9", EUC_JP => "\xE3\x81\x82", SQL_ASCII => '\xE9');
my @encodings = sort keys %byte_of;

foreach my $encoding (@encodings)
{
	my $database = lc $encoding;

	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
	$node->safe_psql($database, 'CREATE EXTENSION unleash_tokens CASCADE');
	make_tokens($node, 1, $database);
	$node->safe_psql($database, qq{
		CREATE FUNCTION glyph() RETURNS text LANGUAGE sql AS \$\$ SELECT convert_from('\\x$byte_of{$encoding}', '$encoding') \$\$;
		CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN RAISE '%', '$database: ' || repeat(public.glyph(), 300); END \$\$;
		CREATE TRIGGER fail BEFORE UPDATE ON unleash_tokens.api_token FOR EACH ROW EXECUTE FUNCTION fail()});
}

sub last_error
{
	my ($database) = @_;
	return pack 'H*', $node->safe_psql($database, q{SELECT encode(textsend(last_error), 'hex') FROM unleash_tokens.stat});
}

foreach my $encoding (@encodings)
{
	my $from = lc $encoding;
	my $start = "$from: ";
	my $room = 255 - length($start);
	my $character = $in_utf8{$encoding};
	my $whole = $encoding eq 'SQL_ASCII' ? substr($start . $character x 300, 0, 255) : $start . $character x int($room / length $character);

	$node->safe_psql('postgres', 'SELECT unleash_tokens.stat_reset()');
	is(validate($node, 1, 1, $from), 1, "an error in a database in $encoding");
	wait_for_error($node, "^$from: ", 'is told');
	is(last_error('utf8'), $whole, '... in UTF8, cut behind a whole character');
	foreach my $reader (@encodings)
	{
		my $database = lc $reader;

		is( $node->safe_psql($database, "SELECT convert_from(textsend(last_error), '$reader') ~ '^$from: ' FROM unleash_tokens.stat"),
			't', "... in $reader: as text of that encoding");
	}
	$node->safe_psql($from, 'DROP FUNCTION fail CASCADE');
	$node->reload;
	wait_until_written($node, '... mended, the note is written');
}

# A character that the reader's encoding does not have.
$node->safe_psql('utf8', q{
	CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no % here', public.glyph(); END $$;
	CREATE TRIGGER fail BEFORE UPDATE ON unleash_tokens.api_token FOR EACH ROW EXECUTE FUNCTION fail()});
validate($node, 1, 1, 'utf8');
wait_for_error($node, '^no ', 'a character that other encodings lack');
is(last_error('latin1'), 'no \xE3\x81\x82 here', 'is shown by its bytes in LATIN1');
is(last_error('euc_jp'), "no \xA4\xA2 here", 'and as it is in EUC_JP');
is(last_error('sql_ascii'), "no \xE3\x81\x82 here", 'and in SQL_ASCII');

$node->stop;
done_testing();
