# shellcheck shell=bash disable=SC2154,SC2015
# A real Unleash from npm, for the tests beside it and for the benchmark.  Sourced after t/lib.sh, with $work set (a directory
# for logs) and need_packages and choose_server_user done.  Who sources this calls stop_peer at its end.

unleash_version=8.2.0
unleash_cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/unleash_tokens/unleash-server-$unleash_version
unleash_node=$unleash_cache/node_modules/unleash-node/bin/node
peer_dir='' peer_postgres_pid=''
unleash_pids=()

# The exact version; its dependencies are what npm finds today.  No install script of any package runs.
install_unleash() (
	[ -e "$unleash_cache/complete" ] && exit 0
	say "installing unleash-server $unleash_version from npm"
	local arch=x64
	[ "$(uname -m)" != aarch64 ] || arch=arm64
	mkdir -p "${unleash_cache%/*}"
	new=$(mktemp -d "$unleash_cache.XXXXXX")
	trap 'rm -rf "$new"' EXIT
	npm install --prefix "$new" --no-audit --no-fund --ignore-scripts --loglevel=error \
		"unleash-server@$unleash_version" "unleash-node@npm:node-linux-$arch@22" || exit 1
	"$new/node_modules/unleash-node/bin/node" --version || exit 1
	touch "$new/complete"
	rm -rf "$unleash_cache"
	mv "$new" "$unleash_cache"
)

# start_peer_postgres OPTION...: a PostgreSQL of its own, with these options of postgres.
start_peer_postgres() {
	local pg_bin=${PG_CONFIG%/*}
	start_cluster '' "$@" || die "PostgreSQL did not start"
	peer_dir=$run_dir peer_postgres_pid=$cluster_pid
}

# peer_sql DATABASE ARGUMENT...
peer_sql() { on "$peer_dir" "$@"; }

# start_unleash NAME ADMIN_TOKEN SETTING=VALUE...: an Unleash with a database of its own; its URL is in $url.
start_unleash() {
	local name=$1 admin=$2 port
	shift 2
	peer_sql postgres -c "CREATE DATABASE $name"
	port=$(free_port)
	url=http://127.0.0.1:$port
	(
		cd "$unleash_cache/node_modules/unleash-server"
		exec setsid setpriv --pdeathsig TERM -- env -i PATH="$PATH" HOME="$work" TZ=UTC NODE_ENV=production \
			DATABASE_HOST="$peer_dir" DATABASE_PORT=5432 DATABASE_NAME="$name" DATABASE_USERNAME=postgres DATABASE_PASSWORD=none \
			DATABASE_SSL=false HTTP_HOST=127.0.0.1 HTTP_PORT="$port" UNLEASH_URL="$url" LOG_LEVEL=warn \
			CHECK_VERSION=false SEND_TELEMETRY=false INIT_ADMIN_API_TOKENS="$admin" "$@" \
			"$unleash_node" dist/server.js
	) >"$work/$name.log" 2>&1 </dev/null &
	unleash_pids+=($!)
}

# wait_for_unleash NAME URL PID
wait_for_unleash() {
	local tries=0
	until curl -fsS --noproxy '*' -m 5 -o /dev/null "$2/health" 2>/dev/null; do
		kill -0 "$3" 2>/dev/null && ((++tries < 1200)) || die "Unleash did not start: $(tail -n 20 "$work/$1.log")"
		sleep 0.1
	done
}

# An admin token for a new Unleash.
make_unleash_token() { echo "*:*.$(head -c 28 /dev/urandom | od -An -v -tx1 | tr -d ' \n')"; }

stop_peer() {
	local pid
	for pid in "${unleash_pids[@]}"; do stop_server TERM "$pid"; done
	stop_server INT "$peer_postgres_pid"
	[ -z "$peer_dir" ] || as_server rm -rf "$peer_dir"
}
