# shellcheck shell=bash disable=SC2154,SC2034
# What bin/test and the suites share: counting, a copy of the checkout, servers to ask, packages of npm, Debian roots.
#
# Sourced with "set -euo pipefail".  A suite is t/NAME/run: it says what it tries line by line, "figure: TEXT" for what is worth
# printing of a good run, "skipped - WHAT: WHY", and closes with "N passed, N failed[, N skipped]".  Its files go to $suite_dir.

checkout=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd -P)
# shellcheck source=bin/lib.sh
. "$checkout/bin/lib.sh"

suite=$(basename "$(dirname "$0")")
suite_dir=${SUITE_DIR:-$checkout/.test/$suite}
passed=0 failed=0 skipped=0
run_dir='' cluster_pid='' serve_pid=''

# A suite that shares servers or a build gets them from bin/test: without it the suite is started through it.
by_bin_test() {
	[ -n "${TEST_DIR:-}" ] || exec "$checkout/bin/test" "$suite"
	choose_server_user
	work=$TEST_WORK suite_tree=$TEST_WORK/suite pg_bin=${TEST_BIN:-${PG_CONFIG%/*}} run_dir=${TEST_SOCKETS:-}
	mkdir -p "$suite_dir"
}

# ---- The list -------------------------------------------------------------------------------------------------------

suites=()
declare -A when=() needs=() about=()	# suite -> its columns

# The rows of the table in t/README.md: | `suite` | when | needs | what |
read_suites() {
	local name row_when row_needs what
	while IFS='|' read -r _ name row_when row_needs what _; do
		[[ $name =~ ^\ \`([a-z0-9]+)\`\ *$ ]] || continue
		name=${BASH_REMATCH[1]}
		suites+=("$name")
		when[$name]=${row_when// /} needs[$name]=$row_needs what=${what# } about[$name]=${what% }
	done <"$checkout/t/README.md"
}

# ---- Counting -------------------------------------------------------------------------------------------------------

pass() { echo "ok - $1"; passed=$((passed + 1)); }
fail() { echo "not ok - $1"; failed=$((failed + 1)); }
skip() { echo "skipped - $1: $2"; skipped=$((skipped + 1)); }
figure() { echo "figure: $*"; }

# The closing line; the status is that of the suite.
finish() {
	printf '%d passed, %d failed' $passed $failed
	[ $skipped -eq 0 ] || printf ', %d skipped' $skipped
	echo
	[ $failed -eq 0 ] && [ $((passed + skipped)) -gt 0 ]
}

# skip_all WHY: nothing of the suite can be run here.
skip_all() {
	skip "$suite" "$1"
	finish
	exit
}

# read_counts FILE: sets $p $f $s from the last closing line in it; status 1 without one.
read_counts() {
	local line
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$1" | tail -n 1)
	read -r p f s < <(grep -oE '[0-9]+' <<<"$line" | tr '\n' ' ') || true
	s=${s:-0}
	[ -n "$line" ]
}

add_counts() { passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3)); }

# run_part FILE COMMAND...: a part that closes with counts of its own; its output goes to FILE and is shown.
run_part() {
	local out=$1 status=0 p f s
	shift
	"$@" >"$out" 2>&1 || status=$?
	grep -vE '^[0-9]+ passed, [0-9]+ failed' "$out" || true
	if read_counts "$out"; then
		[ $status -eq 0 ] || [ "$f" -gt 0 ] || f=1
		add_counts "$p" "$f" "$s"
	else
		fail "${1##*/} did not come to an end"
	fi
}

# count_lines FILE STATUS: what pg_regress or prove printed: TAP, or the lines of pg_regress before PostgreSQL 16.
count_lines() {
	local f
	f=$(grep -cE '^(not ok [0-9]+|(test|     ) .*\.\.\. FAILED)' "$1" || true)
	[ "$2" -eq 0 ] || [ "$f" -gt 0 ] || f=1
	add_counts "$(grep -E '^(ok [0-9]+|(test|     ) .*\.\.\. ok)' "$1" | grep -civ ' # skip' || true)" "$f" \
		"$(grep -ciE '^(ok [0-9]+.*|1\.\.0) # skip' "$1" || true)"
}

# What a suite says of what failed, also where it runs others and shows what they say.
failure='^(    )*(not ok|# *Failed test|t/.* \(Wstat:)|^# .*\.\.\. FAILED'

# show_failures LOG: what failed in it and its end, indented: no line of it can be taken for the closing one.
show_failures() {
	{
		grep -E -A 5 "$failure" "$1" | head -n 80 || true
		echo '...'
		sed -E '/^ok /d' "$1" | tail -n 80
	} | sed 's/^/    /'
	echo "    (all of it is in ${1#"$checkout/"})"
}

milliseconds() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# The warnings that the server's own headers do not give.
warnings="-Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers"

# ---- What is needed -------------------------------------------------------------------------------------------------

fuzzer_runtime() {
	local dir
	# a pattern before clang is there to say where it looks
	dir=$(clang -print-resource-dir 2>/dev/null || echo '/usr/lib/llvm-*/lib/clang/*')
	echo "$dir/lib/linux/libclang_rt.fuzzer-$(uname -m).a"
}

# need_tools WORD...: installs what stands behind the words of the column "needs" in t/README.md.
need_tools() {
	local word packages=()
	for word in "$@"; do
		case $word in
			clang) packages+=(clang:clang) ;;
			fuzzer) packages+=(clang:clang "libclang-rt-dev:$(fuzzer_runtime)") ;;
			analyzers) packages+=(clang:clang clang-tidy:clang-tidy clang-tools:scan-build cppcheck:cppcheck) ;;
			chromium | gcovr | patch | pgbouncer | valgrind) packages+=("$word:$word") ;;
			microhttpd) packages+=(libmicrohttpd-dev:/usr/include/microhttpd.h) ;;
			mmdebstrap) ! is_root || packages+=(mmdebstrap:mmdebstrap) ;;
			node) packages+=(nodejs:node) ;;
			npm) packages+=(nodejs:node npm:npm) ;;
			prove) packages+=(perl:prove libipc-run-perl:IPC::Run) ;;
			build | cluster | serve | fresh | alone) ;;
			*) die "t/README.md: nobody knows how to get \"$word\"" ;;
		esac
	done
	# in a root of pg17 or pg18 it is all there, and nothing can be fetched
	[ -n "${IN_TEST_ROOT:-}" ] || need_packages "${packages[@]}"
}

# What t/DIRECTORY needs from npm.
node_modules() {
	[ "$checkout/t/$1/node_modules/.package-lock.json" -nt "$checkout/t/$1/package-lock.json" ] ||
		npm ci --prefix "$checkout/t/$1" --ignore-scripts --no-audit --no-fund --loglevel=error
}

# The checkout as a tar archive, without what is built or made.
checkout_archive() {
	tar -C "$checkout" --exclude=./.git --exclude=./.test --exclude=./.serve --exclude=./.standby --exclude=./.build --exclude=./.bench \
		--exclude=node_modules --exclude='*.o' --exclude='*.so' --exclude='*.bc' --exclude=./results --exclude=./output_iso \
		--exclude='./tmp_check*' -cf - .
}

# ---- PostgreSQL -----------------------------------------------------------------------------------------------------

# wait_until PID COMMAND...: asks until the command succeeds, as long as the process lives, at most two minutes.
wait_until() {
	local pid=$1 tries=0
	shift
	until "$@" >/dev/null 2>&1; do
		kill -0 "$pid" 2>/dev/null && ((++tries < ${SERVER_WRAPPER:+10}1200)) || return 1
		sleep 0.1
	done
}

# on SOCKETS DATABASE ARGUMENT...: psql as the superuser.
on() {
	local sockets=$1 database=$2
	shift 2
	"$pg_bin/psql" -X -q -At -v ON_ERROR_STOP=1 -h "$sockets" -p 5432 -U postgres -d "$database" "$@"
}

# start_cluster DIRECTORY OPTION...: a new PostgreSQL there (or, when that is empty, beside its socket), on a socket in a new $run_dir;
# its process is $cluster_pid.
start_cluster() {
	make_run_dir || return 1
	local data=${1:-$run_dir/cluster}
	shift
	as_server rm -rf "$data" "$data.log"
	as_server "$pg_bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync | put_file "$data.initdb" || return 1
	# shellcheck disable=SC2086
	death_signal=INT start_server "$data.log" ${SERVER_WRAPPER:-} "$pg_bin/postgres" -D "$data" -k "$run_dir" \
		-c listen_addresses= -c port=5432 "$@" ${SERVER_OPTIONS:-}
	cluster_pid=$started
	wait_until "$cluster_pid" on "$run_dir" postgres -c 'SELECT 1' || { as_server cat "$data.log"; return 1; }
}

# Sets $check to the command of one part of "make installcheck", as the server user; a command and no function, for timeout to run.
compose_check() {
	check=(env PGHOST="${run_dir:-/nonexistent}" PGPORT=5432 PGUSER=postgres
		make --no-print-directory -C "$suite_tree" with_llvm=no PG_CONFIG="$pg_bin/pg_config" "$@" installcheck)
	! is_root || check=(setpriv --reuid "$server_user" --regid "$server_user" --init-groups -- env HOME="$server_home" "${check[@]}")
}

# installcheck DIFFS VARIABLE=...: a suite that is one part of "make installcheck"; DIFFS is shown when it fails.
installcheck() {
	local diffs=$1 status=0 check
	shift
	compose_check "$@"
	"${check[@]}" >"$suite_dir/out" 2>&1 || status=$?
	cat "$suite_dir/out"
	count_lines "$suite_dir/out" $status
	if [ $status -ne 0 ]; then
		as_server tail -n 30 "$work/cluster.log" 2>/dev/null || true
		as_server cat "$suite_tree/$diffs" 2>/dev/null || true
	fi
}

# ---- HTTP -----------------------------------------------------------------------------------------------------------

# start_serve ARGUMENT...: bin/serve in the background for $SERVE_DIR, until its env file says that it answers.
start_serve() {
	local log=$SERVE_DIR/bin-serve.log
	mkdir -p "$SERVE_DIR"
	rm -f "$SERVE_DIR/env"
	PORT=0 "${tree:-$checkout}/bin/serve" "$@" >"$log" 2>&1 </dev/null 9>&- &
	serve_pid=$!
	wait_until "$serve_pid" test -e "$SERVE_DIR/env" || { cat "$log" >&2; stop_serve; return 1; }
}

stop_serve() {
	[ -n "$serve_pid" ] || return 0
	kill -TERM "$serve_pid" 2>/dev/null || true
	wait "$serve_pid" 2>/dev/null || true
	serve_pid=''
}

# node_files FILE...: t/FILE.mjs one after the other, each against the servers of $SERVE_DIR.
node_files() {
	local file
	for file in "$@"; do
		echo "-- $file"
		run_part "$suite_dir/out" node "$checkout/t/$file.mjs" "$SERVE_DIR/env"
	done
}

# ---- What bin/test gets for suites ----------------------------------------------------------------------------------

# What the server user writes to: below .test, or below his home when he cannot enter the checkout.
choose_work_dir() {
	work=$test_dir/work
	if is_root && ! as_server test -x "$test_dir"; then
		work=$server_home/unleash_tokens-test-$(printf '%s' "$test_dir" | sha256sum | cut -c1-12)
	fi
	if [ ! -d "$work" ]; then
		mkdir "$work"
		! is_root || chown -h "$server_user:" "$work"
	fi
	[ "$(stat -c %U "$work")" = "$server_user" ] || die "$work belongs to another user: remove it"
	printf '%s\n' "$work" >"$test_dir/where"
}

# The extension in a private PostgreSQL, and a copy of the checkout that the server user may write to.
prepare_build() {
	[ -z "${TEST_BIN:-}" ] || return 0
	(build_tree "$work") || return 1	# it ends the shell when it fails
	build_tree "$work"
	as_server rm -rf "$work/suite" && as_server mkdir "$work/suite" && checkout_archive | as_server tar -C "$work/suite" -xmf - || return 1
	export TEST_BIN=$pg_bin
}

# Without autovacuum, whose ANALYZE changes plans in the middle of a test, and with them which transactions cannot be serialized.
prepare_cluster() {
	[ -z "$cluster_pid" ] || return 0
	prepare_build && start_cluster "$work/cluster" -c fsync=off -c autovacuum=off -c max_prepared_transactions=10 -c shared_preload_libraries=unleash_tokens &&
		export TEST_SOCKETS=$run_dir
}

# prepare WORD...: what the words of the column "needs" ask to run, in this shell so that it is there for the next suite too.
prepare() {
	local word
	for word in "$@"; do
		case $word in
			build | cluster) "prepare_$word" || return 1 ;;
			serve) [ -n "$serve_pid" ] || start_serve --fresh || return 1 ;;
			fresh) stop_serve; start_serve --fresh || return 1 ;;
			alone) stop_serve ;;
		esac
	done
}

# Stop what was prepared, and remove what stands outside .test, in the home of the server user.
stop_shared() {
	local dir
	stop_serve
	stop_server INT "$cluster_pid"
	[ -z "$run_dir" ] || as_server rm -rf "$run_dir"
	for dir in "${work:-}" "$(cat "$SERVE_DIR/where" 2>/dev/null || true)" "$(cat "$TEST_DIR/leaks/where" 2>/dev/null || true)"; do
		[ "${dir#"${server_home:-/nonexistent}"/unleash_tokens-}" = "$dir" ] || as_server rm -rf "$dir"
	done
}

# ---- Debian roots ---------------------------------------------------------------------------------------------------

root_of() { echo "${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/unleash_tokens/root-pg$1"; }

# get_root VERSION: sets $root to a Debian that has that PostgreSQL, made once and kept; else $why there is none, and status 1.
get_root() {
	local version=$1 debian=sid
	[ "$version" != 17 ] || debian=trixie
	root=$(root_of "$version")
	[ ! -e "$root/usr/lib/postgresql/$version/bin/postgres" ] || return 0
	why="only root can make a Debian root"
	is_root || return 1
	why="no Debian root with PostgreSQL $version could be made, see .test/$suite.log"
	mkdir -p "${root%/*}"
	rm -rf "$root" "$root.new"
	# the index of sid is good for days only, and a mirror may lag
	mmdebstrap --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' \
		--include="postgresql-$version,postgresql-server-dev-$version,libipc-run-perl,perl,make,gcc,libc6-dev" \
		"$debian" "$root.new" && mv "$root.new" "$root"
}

# in_root ROOT SCRIPT ARGUMENT...: in a namespace of mounts of its own, with /proc, /dev/shm, /src and /tmp mounted in the root, so
# that nothing stays mounted whatever happens.  SCRIPT furnishes $1/src and calls chroot; one at a time.
in_root() {
	local root=$1 script=$2
	shift 2
	(
		flock 7
		unshare --mount --propagation private bash -ec '
			mount -t proc proc "$1/proc"
			mkdir -p "$1/dev/shm" "$1/src"
			mount -t tmpfs shm "$1/dev/shm"
			mount -t tmpfs src "$1/src"
			mount -t tmpfs tmp "$1/tmp"
			chmod 1777 "$1/tmp"
			'"$script" bash "$root" "$@" 7>&-
	) 7>"$root.lock"
}

# test_in_root VERSION: the suites of SQL with another PostgreSQL, by the same bin/test; its logs outlive the root's memory.
test_in_root() {
	mkdir -p "$suite_dir"
	get_root "$1" || skip_all "$why"
	checkout_archive >"$suite_dir/checkout.tar"
	run_part "$suite_dir/out" in_root "$root" 'tar -C "$1/src" -xf "$2"
		status=0
		chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root IN_TEST_ROOT=yes BUILD_OPTIONS="COPT=$4" \
			PG_CONFIG="/usr/lib/postgresql/$3/bin/pg_config" bash /src/bin/test regress isolation tap || status=$?
		cp "$1"/src/.test/*.log "${2%/*}"
		exit $status' \
		"$suite_dir/checkout.tar" "$1" "$warnings"
}
