# shellcheck shell=bash disable=SC2154,SC2034
# Debian roots made of layers, for the suites that try what a machine begins with: a bare Debian, and what packages add to it.
# Sourced after t/lib.sh.

# Longest any one command in a root may take, in seconds; a busy machine needs ten times as long as an idle one.
patience=600

cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/unleash_tokens/starts

# stack_of LAYER: it and what it lies on, the uppermost first.
stack_of() {
	case $1 in
		bookworm | trixie | pg1?) echo "$1" ;;
		builder1?) echo "$1 pg${1#builder}" ;;
		lists) echo lists bookworm ;;
		debs) echo debs lists bookworm ;;
		npm) echo npm ready debs lists bookworm ;;
		*) echo "$1" debs lists bookworm ;;
	esac
}

# Which packages a layer has.
packages_of() {
	case $1 in
		client) echo postgresql-client-15 npm ;;
		running) echo postgresql-15 libpq-dev nginx ;;
		headers) echo postgresql-server-dev-15 ;;
		ready) echo postgresql-15 postgresql-server-dev-15 nginx gcc libc6-dev make curl ;;
		npm) echo npm ;;
		builder*) echo build-essential debhelper postgresql-server-dev-all libpq-dev libmicrohttpd-dev lintian unzip systemd ;;
		hand) echo sudo systemd logrotate ;;
		debs) echo postgresql-15 postgresql-server-dev-15 nginx gcc libc6-dev make curl npm locales perl libipc-run-perl iproute2 ;;
	esac
}

# make_layer NAME: a Debian, or what its packages add to one.  Kept, since it takes minutes.
make_layer() {
	local name=$1 dir=$cache/$1 only='' before=:
	if [ -e "$dir/complete" ]; then
		# made anew when its packages are others by now
		[ -s "$dir/complete" ] && [ "$(cat "$dir/complete")" != "$(packages_of "$name")" ] || return 0
	fi
	rm -rf "$dir"
	mkdir -p "$dir/upper" "$dir/work" "$dir/root"
	case $name in
		bookworm | trixie) make_debian "$name" "$dir/upper" ;;
		lists) in_overlay "$dir" machine bookworm -- apt-get -qq update ;;
		pg1?) get_root "${name#pg}" && rm -rf "$dir/upper" && ln -s "$root" "$dir/upper" ;;
		*)
			# the packages themselves, for the cases without a network
			[ "$name" != debs ] || only=--download-only
			# these roots were made without lists; a volatile overlay is mounted once
			[ "${name#builder1}" = "$name" ] || before='apt-get -qq -o Acquire::Check-Valid-Until=false update'
			# shellcheck disable=SC2046
			in_overlay "$dir" machine $(stack_of "$name" | cut -d' ' -f2-) -- env DEBIAN_FRONTEND=noninteractive sh -c "$before && \
				apt-get -qq -y --no-install-recommends $only install $(packages_of "$name")"
			;;
	esac || return 1
	packages_of "$name" >"$dir/complete"
}

# The index of a mirror may lag; and nobody needs what dpkg writes to be on the disk.
make_debian() {
	mmdebstrap --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' \
		--dpkgopt=force-unsafe-io "$1" "$2" || return 1
	# the machine's own sources, where they are for this Debian
	if [ "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" = "$1" ] && [ -e /etc/apt/sources.list.d/debian.sources ]; then
		rm "$2/etc/apt/sources.list"
		cp /etc/apt/sources.list.d/debian.sources "$2/etc/apt/sources.list.d/"
	fi
	rm -f "$2/etc/resolv.conf"
	cp -L /etc/resolv.conf "$2/etc/resolv.conf"
	# those whom the machine trusts, for npm
	mkdir -p "$2/etc/ssl/certs"
	cp -L /etc/ssl/certs/ca-certificates.crt "$2/etc/ssl/machine.crt" 2>/dev/null || true
}

# in_overlay DIR NETWORK LAYER... -- COMMAND...: runs it as process 1 of a root that has DIR/upper above the layers.
in_overlay() {
	local dir=$1 network=$2 lower='' options=(--mount --pid --fork --kill-child --propagation private)
	shift 2
	while [ "$1" != -- ]; do
		lower+=${lower:+:}$1/upper
		shift
	done
	shift
	[ "$network" != none ] || options+=(--net)
	# shellcheck disable=SC2016
	timeout --foreground -k 10 $patience unshare "${options[@]}" bash -ec '
		root=$1 network=$4
		cd "$2"
		mount -t overlay -o "volatile,lowerdir=$3,upperdir=${root%/root}/upper,workdir=${root%/root}/work" starts "$root"
		[ "$network" != none ] || ip link set lo up
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
		shift 4
		exec chroot "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb "$@"
	' bash "$dir/root" "$cache" "$lower" "$network" "$@" 6>&- 9>&- </dev/null
}

# make_roots LAYER...: those, and PostgREST for what has no network.
make_roots() {
	local layer
	mkdir -p "$cache"
	exec 8>>"$cache/lock"
	flock 8
	for layer in "$@"; do make_layer "$layer" || return 1; done
	[ -x "$(postgrest_cached)" ] || fetch_postgrest "$(postgrest_cached)" || return 1
	flock -u 8
}

