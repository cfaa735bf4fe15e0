# shellcheck shell=bash
# PostgreSQL from Debian's package, as a cluster of our own. Sourced by "node".
# User, password and database are "waybill"; there is no Unix socket.

postgres_bin() { # prints the folder of the newest version
	find /usr/lib/postgresql/*/bin -name initdb 2>/dev/null | sort -V | tail -1 | grep -o '.*/'
}

postgres_install() { postgres_bin >/dev/null || apt_install postgresql postgresql; }

# The server refuses to run as root. The user it gets instead must still find its folder below ones that only root may
# enter, such as those of t.TempDir: hence the one capability.
postgres_owner() {
	local user=postgres
	[[ $(id -u) == 0 ]] || return 0
	id "$user" >/dev/null 2>&1 || user=nobody
	echo "setpriv --reuid=$user --regid=$(id -g "$user") --clear-groups --inh-caps=+dac_read_search --ambient-caps=+dac_read_search"
}

# postgres_start DIR PORT
postgres_start() {
	local dir=$1 port=$2 bin owner
	bin=$(postgres_bin)
	read -ra owner <<<"$(postgres_owner)"
	if [[ ! -f $dir/data/ready ]]; then
		rm -rf "$dir/data" && mkdir "$dir/data"
		[[ ${#owner[@]} == 0 ]] || chown "$(id -u "${owner[1]#*=}")" "$dir/data"
		echo waybill >"$dir/password"
		(
			cd "$dir/data"
			"${owner[@]}" "${bin}initdb" -D . -U waybill --pwfile=../password -A scram-sha-256 -E UTF8 --locale=C.UTF-8 --no-sync
			"${owner[@]}" "${bin}postgres" --single -D . postgres <<<"CREATE DATABASE waybill"
			touch ready
		) >"$dir/log" 2>&1 || die "initdb went wrong: $(tail -5 "$dir/log")"
	fi
	# After a SIGKILL from outside: sessions end by themselves, and the dead server's number may still be in use for its
	# zombie, which the next server would take for a living one.
	while [[ -n $(find /proc/[0-9]*/cwd -maxdepth 0 -lname "$dir/data" 2>/dev/null) ]]; do sleep 0.05; done
	rm -f "$dir/data/postmaster.pid"
	spawn "$dir" "${owner[@]}" "${bin}postgres" -D "$dir/data" -p "$port" -h 127.0.0.1 -k '' -c max_connections=200
}

# postgres_ready DIR PORT
postgres_ready() { "$(postgres_bin)pg_isready" -q -t 2 -h 127.0.0.1 -p "$2"; }
