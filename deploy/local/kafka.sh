# shellcheck shell=bash disable=SC2154 # "here" and "state" come from lib.sh
# Apache Kafka (KRaft, broker and controller in one process) from the jars on Maven Central. Sourced by "node".
#
# A start takes 1 s instead of 4 s, because the classes come from an archive (CDS) that the install makes, and the data
# folder is a copy of one formatted then. After a SIGKILL Kafka refuses the new process until the session of the old one
# is over (KAFKA_SESSION_MS; Kafka's own default is 9000, which is what "up" takes, since nobody kills its node).
#
# KAFKA_SECURE_PORT adds a listener with TLS (KAFKA_SECURE_PEM: key and certificate) and logins: PLAIN for "alice" with the
# password KAFKA_SECURE_PASSWORD, SCRAM for users that are made over the plain listener.

kafka_home() { sed -n "s|.*<kafka.version>\(.*\)</kafka.version>.*|$state/kafka-\1|p" "$here/kafka/pom.xml"; }

kafka_install() {
	local home jars
	home=$(kafka_home)
	[[ ! -f $home/ready ]] || return 0
	rm -rf "$home" && mkdir -p "$home"
	command -v java >/dev/null || apt_install "" default-jre-headless
	command -v mvn >/dev/null || apt_install "" maven
	say kafka "getting its jars from Maven Central"
	mvn -q -B -ntp -f "$here/kafka/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
		-DoutputDirectory="$home/lib" >"$home/mvn.log" 2>&1 || die "mvn went wrong: $(tail -5 "$home/mvn.log")"
	jars=$(echo "$home"/lib/*.jar)
	echo "${jars// /:}" >"$home/classpath"

	mkdir "$home/warm"
	kafka_config "$home/warm" "$(any_port)"
	kafka_java kafka.tools.StorageTool format -t waybill-local-kafkaAAA -c "$home/warm/server.properties" \
		>"$home/format.log" 2>&1 || die "formatting went wrong: $(tail -5 "$home/format.log")"
	cp -r "$home/warm/data" "$home/blank"

	say kafka "making the class archive that lets it start in a second"
	local port
	port=$(any_port)
	JAVA_TOOL_OPTIONS="-XX:ArchiveClassesAtExit=$home/kafka.jsa" kafka_start "$home/warm" "$port"
	await "$home/warm" 60 kafka_ready "$home/warm" "$port" || die "did not start: $(tail -5 "$home/warm/log")"
	finish "$(cat "$home/warm/pid")" TERM 60
	rm -rf "$home/warm"
	touch "$home/ready"
}

kafka_java() {
	local home options=()
	home=$(kafka_home)
	[[ ! -f $home/kafka.jsa ]] || options+=("-XX:SharedArchiveFile=$home/kafka.jsa")
	"${launch[@]}" java -Xmx512m -XX:+UseSerialGC "${options[@]}" -Dlog4j2.configurationFile="$here/kafka/log4j2.properties" \
		-cp "$(cat "$home/classpath")" "$@"
}

kafka_config() { # DIR PORT
	local controller
	controller=$(any_port)
	cat >"$1/server.properties" <<-END
		process.roles=broker,controller
		node.id=1
		listeners=PLAINTEXT://127.0.0.1:$2,CONTROLLER://127.0.0.1:$controller
		advertised.listeners=PLAINTEXT://127.0.0.1:$2
		controller.listener.names=CONTROLLER
		controller.quorum.voters=1@127.0.0.1:$controller
		log.dirs=$1/data
		broker.session.timeout.ms=${KAFKA_SESSION_MS:-2000}
		broker.heartbeat.interval.ms=250
		# As in production: topics are made on purpose.
		auto.create.topics.enable=false
		# One node.
		min.insync.replicas=1
		offsets.topic.replication.factor=1
		transaction.state.log.replication.factor=1
		transaction.state.log.min.isr=1
		share.coordinator.state.topic.replication.factor=1
		share.coordinator.state.topic.min.isr=1
		# Small and fast: tests start groups by the hundred and let sessions end.
		group.initial.rebalance.delay.ms=0
		group.min.session.timeout.ms=500
		offsets.topic.num.partitions=5
		transaction.state.log.num.partitions=5
		share.coordinator.state.topic.num.partitions=5
		log.cleaner.dedupe.buffer.size=4194304
	END
	[[ -n ${KAFKA_SECURE_PORT:-} ]] || return 0
	kafka_secure "$1/server.properties" >"$1/secure.properties"
	cat "$1/secure.properties" >>"$1/server.properties"
}

kafka_secure() { # FILE: what to add to it; of two lines with one name the later counts
	local modules=org.apache.kafka.common.security name=listener.name.secure
	cat <<-END
		$(grep ^listeners= "$1"),SECURE://127.0.0.1:$KAFKA_SECURE_PORT
		$(grep ^advertised.listeners= "$1"),SECURE://127.0.0.1:$KAFKA_SECURE_PORT
		listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
		$name.ssl.keystore.type=PEM
		$name.ssl.keystore.location=$KAFKA_SECURE_PEM
		$name.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
		$name.plain.sasl.jaas.config=$modules.plain.PlainLoginModule required user_alice="$KAFKA_SECURE_PASSWORD";
		$name.scram-sha-256.sasl.jaas.config=$modules.scram.ScramLoginModule required;
		$name.scram-sha-512.sasl.jaas.config=$modules.scram.ScramLoginModule required;
	END
}

# kafka_start DIR PORT
kafka_start() {
	[[ -d $1/data ]] || cp -r "$(kafka_home)/blank" "$1/data"
	kafka_config "$1" "$2"
	launch=(spawn "$1")
	kafka_java kafka.Kafka "$1/server.properties"
	launch=()
}

launch=()

# kafka_ready DIR PORT: a Metadata request (v1, no topics) names one broker, which it does once it is registered.
kafka_ready() {
	local answer
	exec 3<>"/dev/tcp/127.0.0.1/$2" || return
	printf '\0\0\0\x0e\0\x03\0\x01\0\0\0\x01\xff\xff\0\0\0\0' >&3
	answer=$(timeout 2 head -c 12 <&3 | od -An -tx1)
	exec 3>&-
	[[ ${answer// /} == *0000000100000001 ]]
}
