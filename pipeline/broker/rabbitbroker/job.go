package rabbitbroker

import (
	"context"
	"errors"
	"fmt"

	"github.com/waybill-dev/waybill/pipeline"
)

// job is one message of a Publish, from call to outcome.
type job struct {
	ctx  context.Context
	out  *outgoing
	done bool
	err  error // the outcome, once done

	via     *confirmer // the channel of the latest try
	confirm confirmation
	sent    bool  // the broker may have it
	refused bool  // the broker said no for now
	why     error // why the latest try failed
}

// confirmation is what the broker says to a message; amqp091-go's.
type confirmation interface {
	Done() <-chan struct{} // closed when it has said something, or never will
	Acked() bool
}

// id is the message's id.
func (o *outgoing) id() string {
	id, _ := o.Headers[headerID].(string)
	return id
}

// charge is what the message takes of a confirmer's room. One that is larger
// than all of it passes alone.
func (j *job) charge() int64 {
	size := int64(len(j.out.Body) + j.out.headerBytes)
	return min(max(size, minCharge), roomBytes)
}

func (j *job) fail(err error) { j.done, j.err = true, j.explain(err) }

func (j job) failed(err error) job {
	j.fail(err)
	return j
}

// explain makes a timeout of what ended after the message may have left.
func (j *job) explain(err error) error {
	if !j.sent || pipeline.IsPermanent(err) {
		return err
	}
	if j.why != nil && !errors.Is(err, j.why) {
		err = fmt.Errorf("%w: %w", err, j.why)
	}
	return pipeline.WithReason(fmt.Errorf(
		"not confirmed in time, RabbitMQ may have the message or not, publish it again with the same id: %w", err),
		pipeline.ReasonTimeout)
}

// await waits for the confirm, if the job is in flight, and settles it. When
// ctx is done first the job has failed, and its room is freed later, when the
// confirm comes or the channel ends.
func (j *job) await() {
	if j.confirm == nil {
		return
	}
	if _, err := pipeline.Await(j.ctx, j.confirm.Done()); err != nil {
		abandoned := *j
		j.confirm = nil
		j.fail(err)
		// The link is closed only after its connection, which settles all.
		j.via.p.link.spawn(func() {
			<-abandoned.confirm.Done()
			abandoned.via.settle(&abandoned)
		})
		return
	}
	j.via.settle(j)
}
