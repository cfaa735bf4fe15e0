package peer

import (
	"context"
	"fmt"

	"github.com/waybill-dev/waybill/cmd/bench/job"
)

// client runs an implementation until ctx ends, and returns nil if it stopped
// in good order.
type client func(ctx context.Context, spec job.Spec, prepare job.PrepareFunc) error

var clients = map[[2]string]client{
	{job.RabbitMQ, job.Raw}:        rawRabbit,
	{job.RabbitMQ, job.Stock}:      stockRabbit,
	{job.RabbitMQ, job.StockTuned}: stockRabbit,
	{job.Kafka, job.Raw}:           rawKafka,
	{job.Kafka, job.Stock}:         stockKafka,
	{job.Kafka, job.StockTuned}:    stockKafka,
	{job.Embedded, job.Raw}:        rawSQLite,
}

// fed are those that feed themselves, see job.Spec.
var fed = map[string]client{
	job.Raw:        fedSQLite,
	job.Waybill:    fedWaybill,
	job.WaybillLog: fedWaybill,
}

// Run does the job that spec says until ctx ends.
func Run(ctx context.Context, spec job.Spec, prepare job.PrepareFunc) error {
	run, ok := clients[[2]string{spec.Broker, spec.Impl}]
	switch {
	case spec.Feed:
		run, ok = fed[spec.Impl]
	case spec.Profile != "":
		run, ok = profiledWaybill, true
	}
	if !ok {
		return fmt.Errorf("there is no %s for %s", spec.Impl, spec.Broker)
	}
	if err := run(ctx, spec, prepare); err != nil {
		return fmt.Errorf("%s on %s: %w", spec.Impl, spec.Broker, err)
	}
	return nil
}
