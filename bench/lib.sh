# shellcheck shell=bash disable=SC2154,SC2034
# What the benchmarks share: goals, medians, and a record of the machine.  Sourced after bin/lib.sh.

missed=0	# goals that nobody has explained
goals=()	# each as a JSON object, for the results

# goal MET TEXT [KEY]: MET is 1 or 0.  A missed one counts, unless doc/performance.md says why under its key, in a line that
# begins with "- missed: KEY".
goal() {
	goals+=("{\"met\": $([ "$1" -eq 1 ] && echo true || echo false), \"text\": \"${2//\"/\\\"}\"}")
	if [ "$1" -eq 1 ]; then
		echo "met     $2"
	elif [ -n "${3:-}" ] && explained "$3"; then
		echo "MISSED  $2 (see doc/performance.md)"
	else
		echo "MISSED  $2"
		missed=$((missed + 1))
	fi
}

explained() { grep -qE -- "^- missed: $1($|[^A-Za-z0-9-])" "$checkout/doc/performance.md" 2>/dev/null; }

# median COLUMN
median() { awk -v c="$1" '{print $c}' | sort -g | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

# record_machine NAME VALUE...: what a figure depends on, as a JSON object; and what else the caller knows.
record_machine() {
	local separator='{' name value
	set -- at "$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
		cpu "$(sed -nE 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)" \
		cores "$(nproc)" \
		memory_mib $(($(sed -nE 's/^MemTotal: *([0-9]+) kB/\1/p' /proc/meminfo) / 1024)) \
		kernel "$(uname -r)" \
		load_before "$(cut -d' ' -f1 /proc/loadavg)" \
		commit "$(describe_commit)" \
		postgresql "$("$PG_CONFIG" --version)" "$@"
	while [ $# -gt 0 ]; do
		value=$2
		if ! [[ $1 =~ ^(cores|memory_mib|load_before)$ ]]; then
			value=${value//\\/\\\\}
			value=\"${value//\"/\\\"}\"
		fi
		printf '%s"%s": %s' "$separator" "$1" "$value"
		separator=', '
		shift 2
	done
	echo '}'
}
