# shellcheck shell=bash disable=SC2154 # "state" comes from lib.sh
# Processes that outlive the script which starts them. Sourced by lib.sh.

# running DIR: its pid file names a live process that works there, not a stranger with a number used again.
running() {
	local pid
	pid=$(cat "$1/pid" 2>/dev/null) && works_in "$pid" "$1"
}

works_in() { [[ $(readlink "/proc/$1/cwd" 2>/dev/null) == "$2"* ]]; }

# gone PID: no such process, or one that died and waits for its parent (its last thread, too).
gone() {
	local threads=("/proc/$1/task"/*)
	[[ -z $(readlink "/proc/$1/cwd" 2>/dev/null) && ${#threads[@]} -le 1 ]]
}

# spawn DIR COMMAND...: starts the command for good, free of this terminal and of this script's pipes.
# The command must exec its way to the server, so that the pid file has the server's own number.
spawn() {
	local dir=$1
	shift
	ulimit -Sn 65536 2>/dev/null || ulimit -Sn "$(ulimit -Hn)"
	(cd "$dir" && exec setsid "$@" </dev/null >>"$dir/log" 2>&1 9>&-) &
	echo $! >"$dir/pid"
	echo "$! $dir" >>"$state/pids" # lets "down" find what a test left behind
}

# await DIR SECONDS COMMAND...: until the command succeeds; false when the process dies or the time is over.
await() {
	local dir=$1 end=$((SECONDS + $2)) pid
	pid=$(cat "$dir/pid")
	shift 2
	until "$@" 2>/dev/null; do
		! gone "$pid" && ((SECONDS < end)) || return 1
		sleep 0.05
	done
}

# finish PID SIGNAL [SECONDS]: ends a process (and what it started, when the signal is KILL) and waits until it is gone.
finish() {
	local pid=$1 signal=$2 end=$((SECONDS + ${3:-20})) children=
	[[ $signal != KILL ]] || children=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null || true)
	# shellcheck disable=SC2086 # a list of numbers
	kill -s "$signal" "$pid" $children 2>/dev/null || true
	kill -s CONT "$pid" 2>/dev/null || true # a frozen one would never see the signal
	until gone "$pid"; do
		if ((SECONDS >= end)); then
			[[ $signal != KILL ]] || die "process $pid does not go away"
			finish "$pid" KILL
			return
		fi
		sleep 0.05
	done
}
