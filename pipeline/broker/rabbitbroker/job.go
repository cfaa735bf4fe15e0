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

	confirm waiter // of the latest try; nil: it is not in flight
	sent    bool   // the broker may have it
	why     error  // why the latest try failed
}

// waiter is a pipeline.Confirmer for somebody who waits.
type waiter chan error

// Confirmed implements pipeline.Confirmer.
func (w waiter) Confirmed(_ int, err error) { w <- err }

func (j *job) fail(err error) { j.done, j.err = true, j.explain(err) }

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

// waitForRoom waits until there was room for the message. False: the job has
// failed.
func (j *job) waitForRoom(c *confirmer) bool {
	if err := c.room.Acquire(j.ctx, j.out.charge()); err != nil {
		j.fail(pipeline.WithReason(fmt.Errorf("wait for earlier messages: %w", context.Cause(j.ctx)), pipeline.ReasonUnavailable))
		return false
	}
	c.room.Release(j.out.charge()) // the caller takes it
	return true
}

// send sends the job's message, for which there is room. Where the channel has
// just ended the job stays open.
func (j *job) send(c *confirmer) {
	w := make(waiter, 1)
	if c.send(&flight{out: j.out, to: w}) {
		j.confirm, j.sent = w, true
	}
}

// await waits for the confirm, if the job is in flight. It leaves the job open if
// the message must be sent again.
func (j *job) await() {
	if j.confirm == nil {
		return
	}
	err, ended := pipeline.Await(j.ctx, j.confirm)
	j.confirm = nil
	switch {
	case ended != nil:
		j.fail(ended)
	case err == nil:
		j.done = true
	case pipeline.IsPermanent(err):
		j.fail(err)
	default:
		j.why = err
	}
}
