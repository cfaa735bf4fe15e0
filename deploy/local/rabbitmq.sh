# shellcheck shell=bash disable=SC2154 # "here" and "state" come from lib.sh
# RabbitMQ from Debian's package. Sourced by "node".
#
# A start takes 2 s instead of 6 s (and 17 s with the command-line tools), because
#   - the node gets a home with only the plugins in use: the Erlang VM looks for each module in every plugin's folder;
#   - the VM's threads spin for a moment before they sleep (+sbwt, +sbwtdio): starting is one long ping-pong between them;
#   - there is no epmd, for which the server would start a second VM (-start_epmd false);
#   - readiness is asked on the wire instead of with rabbitmq-diagnostics, which is a VM of its own.

rabbitmq_home() { # prints the slim home, where it exists
	local version
	version=$(echo /usr/lib/rabbitmq/lib/rabbitmq_server-*)
	[[ -d $state/rabbitmq-home/${version##*-}/plugins ]] && echo "$state/rabbitmq-home/${version##*-}"
}

rabbitmq_install() {
	rabbitmq_home >/dev/null && return
	local server=(/usr/lib/rabbitmq/lib/rabbitmq_server-*) home plugin
	if [[ ! -d ${server[0]} ]]; then
		apt_install rabbitmq-server rabbitmq-server
		server=(/usr/lib/rabbitmq/lib/rabbitmq_server-*)
	fi
	home=$state/rabbitmq-home/${server[0]##*-}
	rm -rf "$home" && mkdir -p "$home/new"
	ln -s "${server[0]}/sbin" "${server[0]}/escript" "$home/"
	for plugin in "${server[0]}"/plugins/*; do
		case ${plugin##*/} in
		rabbitmq_prelaunch-* | rabbitmq_consistent_hash_exchange-*) ;;
		rabbitmq_management-* | rabbitmq_management_agent-* | rabbitmq_web_dispatch-*) ;;
		rabbitmq_*) continue ;; # the other plugins; what remains are libraries
		esac
		ln -s "$plugin" "$home/new/"
	done
	mv "$home/new" "$home/plugins"
}

# rabbitmq_start DIR PORT [MANAGEMENT_PORT]
rabbitmq_start() {
	local dir=$1 port=$2 management=${3:-} plugins=rabbitmq_consistent_hash_exchange distribution
	[[ -z $management ]] || plugins+=,rabbitmq_management
	distribution=$(any_port)
	echo "$distribution" >"$dir/distribution_port"
	echo "[$plugins]." >"$dir/enabled_plugins"
	# Statistics each second instead of each five: tests wait for the counts that the management API shows.
	cat >"$dir/rabbitmq.config" <<-END
		[{rabbit, [{tcp_listeners, [{"127.0.0.1", $port}]}, {collect_statistics_interval, 1000}]},
		 {rabbitmq_management, [{tcp_config, [{ip, "127.0.0.1"}, {port, ${management:-15672}}]}]}].
	END
	spawn "$dir" env HOME="$dir" LANG=C.UTF-8 ERL_CRASH_DUMP="$dir/erl_crash.dump" \
		RABBITMQ_NODENAME=waybill@localhost \
		RABBITMQ_DIST_PORT="$distribution" \
		RABBITMQ_MNESIA_BASE="$dir/data" \
		RABBITMQ_LOG_BASE="$dir" RABBITMQ_LOGS=- \
		RABBITMQ_ENABLED_PLUGINS_FILE="$dir/enabled_plugins" \
		RABBITMQ_CONFIG_FILE="$dir/rabbitmq.config" \
		RABBITMQ_CONFIG_FILES="$dir/conf.d" \
		RABBITMQ_CONF_ENV_FILE=/dev/null \
		RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-sname waybill@localhost -start_epmd false -erl_epmd_port $distribution \
			-kernel inet_dist_listen_min $distribution inet_dist_listen_max $distribution \
			inet_dist_use_interface {127,0,0,1} +sbwt short +sbwtdio short" \
		RUNNING_UNDER_SYSTEMD=true \
		"$(rabbitmq_home)/sbin/rabbitmq-server" # "under systemd" it execs the VM and leaves no shell above it
}

# rabbitmq_ready DIR PORT [MANAGEMENT_PORT]: answers the AMQP handshake with a method frame, and HTTP with 200.
rabbitmq_ready() {
	local byte line
	exec 3<>"/dev/tcp/127.0.0.1/$2" || return
	printf 'AMQP\0\0\x09\x01' >&3
	byte=$(timeout 2 head -c 1 <&3 | od -An -tx1)
	exec 3>&-
	[[ $byte == *01 ]] || return
	[[ -n ${3:-} ]] || return 0
	exec 3<>"/dev/tcp/127.0.0.1/$3" || return
	printf 'GET /api/overview HTTP/1.0\r\nAuthorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n\r\n' >&3
	read -r -t 2 line <&3 || line=
	exec 3>&-
	[[ $line == *" 200 "* ]]
}

# rabbitmq_ctl DIR ARGS...: rabbitmqctl on that node, for instance "set_vm_memory_high_watermark 0.0001" to block it.
rabbitmq_ctl() {
	local dir=$1
	shift
	HOME=$dir LANG=C.UTF-8 RABBITMQ_NODENAME=waybill@localhost RABBITMQ_CONF_ENV_FILE=/dev/null \
		RABBITMQ_CTL_ERL_ARGS="-start_epmd false -dist_listen false -erl_epmd_port $(cat "$dir/distribution_port")" \
		"$(rabbitmq_home)/sbin/rabbitmqctl" "$@"
}
