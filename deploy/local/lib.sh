# shellcheck shell=bash
# What the scripts in this folder share: messages, packages, ports; and the processes of process.sh.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
state=$(cd "$here/../.." && pwd -P)/.local # git-ignored; everything is kept there

# shellcheck source-path=SCRIPTDIR source=process.sh
. "$here/process.sh"

say() { printf '%-9s %s\n' "$1" "$2"; }

die() {
	printf '%s: %s\n' "${0##*/}" "$1" >&2
	exit 1
}

as_root() {
	if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi
}

# locked COMMAND...: one process at a time, for installs. Tests of several packages start nodes side by side.
locked() {
	mkdir -p "$state"
	(
		flock 9
		"$@"
	) 9>"$state/lock"
}

# apt_install SERVICE PACKAGE...: the package, without the system's own service: our nodes run from files of ours.
apt_install() {
	local service=$1 policy=/usr/sbin/policy-rc.d ours=
	shift
	[[ -x /usr/bin/apt-get ]] || die "needs Debian or Ubuntu (for $*), or a Docker engine"
	say apt "installing $*"
	if [[ ! -e $policy ]]; then
		ours=yes
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
		as_root chmod +x "$policy"
	fi
	local failed=
	{
		as_root apt-get update -qq &&
			as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
	} >"$state/apt.log" 2>&1 || failed=yes
	[[ -z $ours ]] || as_root rm -f "$policy"
	[[ -z $failed ]] || die "apt-get install $* went wrong: $(tail -5 "$state/apt.log")"
	if [[ -n $service && -d /run/systemd/system ]]; then
		as_root systemctl disable --quiet "$service" 2>/dev/null || true # nor at the next boot
	fi
}

# answers PORT: something listens there.
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port FROM: the first port from there on where nothing listens.
free_port() {
	local port=$1
	while answers "$port"; do port=$((port + 1)); done
	echo "$port"
}

# pick_port FILE WANTED: writes down a port. 5672 is that one, or an error; 5672+ the one written there before, else the
# first free one from there on; nothing, or 0, the one written there before, else any.
pick_port() {
	local port=$2 end=$((SECONDS + 5))
	case $port in
	*+)
		port=$(cat "$1" 2>/dev/null || echo "${port%+}")
		port=$(free_port "$port")
		;;
	'' | 0)
		port=$(cat "$1" 2>/dev/null || any_port)
		! answers "$port" || port=$(any_port)
		;;
	esac
	while answers "$port"; do # a process killed a moment ago may still have it
		((SECONDS < end)) || die "port $port is taken by another process"
		sleep 0.05
	done
	echo "$port" >"$1"
}

# any_port: below the range from which clients get theirs, and not the next free one: tests start nodes side by side.
any_port() { free_port $((20000 + (RANDOM * 32768 + RANDOM) % 12000)); }
