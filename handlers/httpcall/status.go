package httpcall

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

// Action is what the status of an answer means for the message.
type Action string

// The actions.
const (
	OK    Action = "ok"    // the message is done
	Retry Action = "retry" // try again, as the handler's policy says
	Dead  Action = "dead"  // no retry can help: a dead letter for reason rejected
)

// action returns what a status means: what the config says of it, or of its
// class, or the default.
func (c *Config) action(status int) Action {
	if action, found := c.Status[strconv.Itoa(status)]; found {
		return action
	}
	if action, found := c.Status[fmt.Sprintf("%dxx", status/100)]; found {
		return action
	}
	return defaultAction(status)
}

func defaultAction(status int) Action {
	switch {
	case status >= 200 && status <= 299, status == http.StatusConflict:
		return OK
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly,
		status == http.StatusTooManyRequests, status >= 500:
		return Retry
	}
	return Dead
}

// statusError is the error for an answer that is not fine. It says when to
// try again if the other side did.
func statusError(action Action, resp *http.Response, err error, now time.Time) error {
	if action == Dead {
		return pipeline.Permanent(pipeline.WithReason(err, pipeline.ReasonRejected))
	}
	reason := pipeline.ReasonUnavailable
	if resp.StatusCode == http.StatusTooManyRequests {
		reason = pipeline.ReasonThrottled
	}
	err = pipeline.WithReason(err, reason)
	if wait := retryAfter(resp.Header.Get("Retry-After"), now); wait > 0 {
		return pipeline.RetryAfter(err, wait)
	}
	return err
}

// maxRetryAfter bounds what we believe of Retry-After: a message must not
// sleep for years because of a wrong clock on the other side.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads the header's value: seconds, or a date. What is neither,
// or lies in the past, is 0.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, min(at.Sub(now), maxRetryAfter))
	}
	return 0
}
