
# Copyright (c) 2026, unleash_tokens contributors

# New files over a server that preloads an old library: what is there goes on working, the update is refused until the
# server was restarted, and doctor() tells files, objects and library apart.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# ---- A PostgreSQL of its own, where files can be exchanged ----

my %dir = map { my $dir = `pg_config --$_`; chomp $dir; $_ => $dir } qw(bindir pkglibdir sharedir);
my $root = PostgreSQL::Test::Utils::tempdir_short();
foreach my $dir (values %dir)
{
	system_or_bail('mkdir', '-p', "$root$dir");
	system_or_bail('sh', '-c', 'cp -rL "$1/." "$2"', 'sh', $dir, "$root$dir");
}
my $library = "$root$dir{pkglibdir}/unleash_tokens.so";
my $control = "$root$dir{sharedir}/extension/unleash_tokens.control";

# A file gets a new inode, as "make install" does it: who has the old one loaded keeps it.
sub install
{
	my ($file, $content) = @_;
	unlink $file or die "$file: $!";
	open my $out, '>:raw', $file or die "$file: $!";
	print $out $content or die $!;
	close $out or die $!;
	return;
}

# That of version 1.0 did not know the functions that came later.
my $new = do { local $/; open my $in, '<:raw', $library or die $!; <$in> };
my $old = $new =~ s/unleash_tokens_library_version/unleash_tokens_library_versiox/gr;
install($library, $old);

my $node = PostgreSQL::Test::Cluster->new('main', install_path => $root . $dir{bindir} =~ s,/bin$,,r);
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'unleash_tokens'");
$node->start;
$node->safe_psql('postgres', q{CREATE EXTENSION unleash_tokens VERSION '1.0';
	CREATE TABLE secret AS SELECT unleash_tokens.create_api_token('{"type": "client", "tokenName": "n"}') ->> 'secret' AS secret});
my $valid = q{SELECT unleash_tokens.validate_api_token(secret) ->> 'tokenName' FROM secret};
my $version = q{SELECT extversion FROM pg_extension WHERE extname = 'unleash_tokens'};
is($node->safe_psql('postgres', $valid), 'n', 'an old library with old objects');

# ---- The files are new, the server was not restarted ----

install($library, $new);
my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nALTER EXTENSION unleash_tokens UPDATE");
like($err, qr/ERROR:  55000: the library of unleash_tokens that is loaded is older than version 2\.0\n/, 'no update');
like($err, qr/HINT:  Restart the server when unleash_tokens is in shared_preload_libraries/, '... and the hint names the restart');
is($node->safe_psql('postgres', $version), '1.0', '... the objects are as they were');
is($node->safe_psql('postgres', $valid), 'n', '... and tokens are valid');
$node->safe_psql('postgres', 'CREATE DATABASE fresh');
($code, $out, $err) = $node->psql('fresh', 'CREATE EXTENSION unleash_tokens');
like($err, qr/ERROR:  the library of unleash_tokens that is loaded is older/, 'nor a fresh installation');

# ---- Restarted ----

$node->restart;
is($node->safe_psql('postgres', $valid), 'n', 'restarted, before the update: tokens are valid');
my $session = $node->background_psql('postgres', on_error_stop => 1);
is($session->query_safe($valid), 'n', '... in a session that stays');
$node->safe_psql('postgres', 'ALTER EXTENSION unleash_tokens UPDATE');
is($node->safe_psql('postgres', $version), '2.0', 'updated');
is($node->safe_psql('postgres', $valid), 'n', '... tokens are valid');
is($session->query_safe($valid), 'n', '... in that session too');
$session->quit;
my $doctor = q{SELECT status, detail, hint FROM unleash_tokens.doctor() WHERE check_name = 'version'};
is($node->safe_psql('postgres', $doctor), 'ok|Version 2.0, as the files and the library that is loaded.|', '... doctor() sees no difference');

# ---- The files of a later version ----

install($control, slurp_file($control) =~ s/default_version = '2\.0'/default_version = '2.1'/r);
append_to_file("$root$dir{sharedir}/extension/unleash_tokens--2.0--2.1.sql", '');
like($node->safe_psql('postgres', $doctor),
	qr/^warning\|version 2\.0 is installed here, the files are those of 2\.1; the library that is loaded is version 2\.0, the files are those of 2\.1\.\|Restart the server/,
	'later files: doctor() names objects and library');
$node->safe_psql('postgres', 'UPDATE pg_extension SET extversion = \'2.1\' WHERE extname = \'unleash_tokens\'');
like($node->safe_psql('postgres', $doctor), qr/^warning\|the library that is loaded is version 2\.0, the files are those of 2\.1\.\|Restart/, 'later objects: the library');
($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$valid");
like($err, qr/55000: library and SQL objects of unleash_tokens are of different versions.*The library is version 2\.0, the SQL objects are version 2\.1.*restart the server/s,
	'... no token is checked by what it was not made for');

$node->stop;
done_testing();
