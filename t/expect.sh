# shellcheck shell=bash disable=SC2154
# What is expected of what happens in a Debian root: each expectation prints "ok - NAME: ..." or "not ok - NAME: ...".  Sourced, with $name set.

# ok STATUS TEXT
ok() {
	if [ "$1" -eq 0 ]; then echo "ok - $name: $2"; else echo "not ok - $name: $2"; fi
	return "$1"
}

# expect TEXT COMMAND...
expect() {
	local text=$1
	shift
	"$@" >/tmp/said 2>&1
	ok $? "$text" || { sed 's/^/    /' /tmp/said; return 1; }
}

not() { ! "$@"; }
same() { [ "$1" = "$2" ] || { diff <(echo "$1") <(echo "$2"); return 1; }; }
