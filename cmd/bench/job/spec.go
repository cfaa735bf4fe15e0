package job

// The implementations.
const (
	Raw        = "raw"         // the bare client, pipelined
	Stock      = "stock"       // Watermill's router and published adapter, as they come
	StockTuned = "stock-tuned" // the same at its best tuning, which may lose order
	Waybill    = "waybill"     // `waybill run`, message log off
	WaybillLog = "waybill-log" // the same with the message log on, payloads and all
)

// IsWaybill reports whether the implementation is Waybill.
func IsWaybill(impl string) bool { return impl == Waybill || impl == WaybillLog }

// The brokers.
const (
	RabbitMQ = "rabbitmq"
	Kafka    = "kafka"
	Embedded = "embedded"
)

// Spec tells a client process what to do. It travels as JSON.
type Spec struct {
	Impl    string // one of the implementations
	Broker  string // one of the brokers
	Variant string // see place.Variants

	URL   string // RabbitMQ: amqp://…; Kafka: host:port,…; embedded: the file
	In    string // queue, topic
	Out   string // queue, topic
	Group string // Kafka: the consumer group

	Config string // Waybill: its config file

	InFlight   int // messages taken and not yet acknowledged
	Partitions int // Kafka

	// Envelope has the bare client send what Waybill sends beside the payload, see
	// peer.envelope.
	Envelope bool

	// Feed has the client send itself the load of Pace, and print Latencies
	// as JSON at the end: for embedded brokers, which nobody else can send to.
	Feed bool

	// Profile has Waybill run in this program and leave profiles whose files
	// begin with this path. "": it is the waybill binary, not profiled.
	Profile string
}
