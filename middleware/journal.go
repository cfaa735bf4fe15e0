package middleware

import (
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline/journal"
)

// Journal gives each run of the kind a slot of the attempt journal, so that
// what runs when the process dies is known. A suspect (see Suspects) runs
// while nothing else does.
type Journal struct {
	Journal *journal.Handler // nil: there is none
	Holder  Holder
}

// Middleware wraps h.
func (j Journal) Middleware(h message.HandlerFunc) message.HandlerFunc {
	if j.Journal == nil {
		return h
	}
	return func(msg *message.Message) (produced []*message.Message, err error) {
		if s := j.Journal.Of(msg.Context()); s != nil {
			return j.alone(msg, s, h)
		}
		if !j.Journal.Run(msg.Context(), msg, func() { produced, err = h(msg) }) {
			return nil, stopping(msg)
		}
		return produced, err
	}
}

// alone runs a suspect, as soon as it may.
func (j Journal) alone(msg *message.Message, s *journal.Suspect, h message.HandlerFunc) (produced []*message.Message, err error) {
	for {
		var failed error
		turn, refused := s.Run(msg.Context(), msg, func() { produced, failed = h(msg) })
		switch {
		case !turn:
			return nil, stopping(msg)
		case refused == nil:
			return produced, failed
		}
		if err := admit(msg, s, j.Holder); err != nil {
			return nil, err
		}
	}
}
