package email

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"

	gomail "github.com/wneessen/go-mail"

	"github.com/waybill-dev/waybill/pipeline"
)

// failed turns what go wrong with a mail into an error that says what to do
// with the message.
func (s *server) failed(parent, ctx context.Context, err error) error {
	if parent.Err() != nil {
		return fmt.Errorf("mail server %s: %w", s.address, context.Cause(parent))
	}
	named := fmt.Errorf("mail server %s: %w", s.address, err)
	reason := reasonOf(err)
	if ctx.Err() != nil {
		reason = pipeline.ReasonTimeout
	}
	named = pipeline.WithReason(named, reason)
	if reason == pipeline.ReasonRejected {
		return pipeline.Permanent(named)
	}
	return named
}

func reasonOf(err error) pipeline.Reason {
	code, aboutMail := reply(err)
	switch {
	case code == 530 || code == 534 || code == 535 || code == 538:
		return pipeline.ReasonUnavailable // our login is refused or missing: no fault of this mail
	case code >= 500 && aboutMail:
		return pipeline.ReasonRejected
	case code == 450 || code == 451 || code == 452:
		return pipeline.ReasonThrottled // busy, greylisted, out of room: all mean later
	}
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		return pipeline.ReasonTimeout
	}
	return pipeline.ReasonUnavailable
}

// reply returns the server's reply code, 0 if it gave none, and whether the
// reply was about the mail rather than about the session.
func reply(err error) (code int, aboutMail bool) {
	var send *gomail.SendError
	if errors.As(err, &send) {
		return send.ErrorCode(), send.Reason != gomail.ErrConnCheck
	}
	var protocol *textproto.Error
	if errors.As(err, &protocol) {
		return protocol.Code, false
	}
	return 0, false
}
