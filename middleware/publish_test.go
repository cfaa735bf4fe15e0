package middleware

import (
	"context"
	"errors"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

// produce is a kind that returns a message for each output name.
func produce(names ...string) message.HandlerFunc {
	return func(in *message.Message) ([]*message.Message, error) {
		out := make([]*message.Message, len(names))
		for i, name := range names {
			out[i] = in.Copy()
			out[i].UUID = ""
			pipeline.SetOutput(out[i], name)
		}
		return out, nil
	}
}

func TestPublish(t *testing.T) {
	t.Parallel()
	topics := map[string]string{"": "plain", "email": "emails", "warehouse": "calls"}

	t.Run("0-27 sends each output to its topic, with an id that a repeat has again", func(t *testing.T) {
		t.Parallel()
		var ids [2][]string
		for repeat := range ids {
			p := Publish{Handler: "process", Topics: topics, Holder: quick(nil), Send: func(_ context.Context, _ *message.Message, out []Output, _ []pipeline.Write) ([]error, error) {
				for _, o := range out {
					ids[repeat] = append(ids[repeat], o.Topic+" "+o.Message.UUID)
				}
				return make([]error, len(out)), nil
			}}
			msg, outcome, _ := incoming(t)
			produced, err := p.Middleware(produce("email", "warehouse"))(msg)
			require.NoError(t, err)
			require.Empty(t, produced, "the router must not publish again")
			require.Len(t, outcome.Outputs, 2)
		}
		require.Equal(t, ids[0], ids[1])
		require.Equal(t, "emails "+pipeline.OutputID("in-1", "process", 0), ids[0][0])
		require.Equal(t, "calls "+pipeline.OutputID("in-1", "process", 1), ids[0][1])
	})

	t.Run("an id that equal messages share stays marked, whatever the handler carries on", func(t *testing.T) {
		t.Parallel()
		var got *message.Message
		p := Publish{Handler: "h", Topics: topics, Holder: quick(nil), Send: func(_ context.Context, _ *message.Message, out []Output, _ []pipeline.Write) ([]error, error) {
			got = out[0].Message
			return []error{nil}, nil
		}}
		msg, _, _ := incoming(t)
		msg.Metadata.Set(pipeline.MetaIDSource, pipeline.IDSourceContent)
		_, err := p.Middleware(produce(""))(msg)
		require.NoError(t, err)
		require.False(t, pipeline.Identified(got))
	})

	t.Run("0-W3 links outputs to their input and keeps its metadata", func(t *testing.T) {
		t.Parallel()
		var got *message.Message
		p := Publish{Handler: "h", Topics: topics, Holder: quick(nil), Send: func(_ context.Context, _ *message.Message, out []Output, _ []pipeline.Write) ([]error, error) {
			got = out[0].Message
			return []error{nil}, nil
		}}
		msg, _, _ := incoming(t)
		msg.Metadata.Set("correlation_id", "conversation-9")
		_, err := p.Middleware(produce(""))(msg)
		require.NoError(t, err)
		require.Equal(t, "in-1", got.Metadata.Get(pipeline.MetaCausationID))
		require.Equal(t, "conversation-9", got.Metadata.Get(pipeline.MetaCorrelationID))
		require.Equal(t, "shop", got.Metadata.Get("source"))
	})

	t.Run("holds what cannot be published now, and sends only that again", func(t *testing.T) {
		t.Parallel()
		var tries [][]string
		held := make(chan string, 1)
		p := Publish{Handler: "h", Topics: topics, Holder: quick(held), Send: func(_ context.Context, _ *message.Message, out []Output, _ []pipeline.Write) ([]error, error) {
			var names []string
			for _, o := range out {
				names = append(names, o.Topic)
			}
			tries = append(tries, names)
			errs := make([]error, len(out))
			if len(tries) < 3 {
				errs[len(errs)-1] = pipeline.WithReason(errBoom, pipeline.ReasonUnavailable)
			}
			return errs, nil
		}}
		runs := 0
		msg, _, _ := incoming(t)
		_, err := p.Middleware(func(in *message.Message) ([]*message.Message, error) {
			runs++
			return produce("email", "warehouse")(in)
		})(msg)
		require.NoError(t, err)
		require.Equal(t, [][]string{{"emails", "calls"}, {"calls"}, {"calls"}}, tries)
		require.Equal(t, 1, runs, "the kind, whose effects are done, must not run again")
		require.Contains(t, <-held, "calls: boom")
	})

	t.Run("what the broker refuses for good is an error of the message", func(t *testing.T) {
		t.Parallel()
		p := Publish{Handler: "h", Topics: topics, Holder: quick(nil), Send: func(context.Context, *message.Message, []Output, []pipeline.Write) ([]error, error) {
			return []error{pipeline.WithReason(pipeline.Permanent(errBoom), pipeline.ReasonTooLarge)}, nil
		}}
		msg, _, _ := incoming(t)
		_, err := p.Middleware(produce(""))(msg)
		require.True(t, pipeline.IsPermanent(err))
		require.Equal(t, pipeline.ReasonTooLarge, pipeline.ReasonOf(err))
	})

	t.Run("an output that the config does not name is an error that lists those it does", func(t *testing.T) {
		t.Parallel()
		p := Publish{Handler: "h", Topics: topics, Holder: quick(nil)}
		msg, _, _ := incoming(t)
		_, err := p.Middleware(produce("sms"))(msg)
		require.True(t, pipeline.IsPermanent(err))
		require.ErrorContains(t, err, `"sms"`)
		require.ErrorContains(t, err, `"email"`)
	})

	t.Run("a stop while held settles nothing", func(t *testing.T) {
		t.Parallel()
		held := make(chan string, 1)
		p := Publish{Handler: "h", Topics: topics, Holder: quick(held), Send: func(context.Context, *message.Message, []Output, []pipeline.Write) ([]error, error) {
			return []error{errBoom}, nil
		}}
		msg, _, stop := incoming(t)
		done := make(chan error)
		go func() { _, err := p.Middleware(produce(""))(msg); done <- err }()
		<-held
		stop(pipeline.ErrStopping)
		require.ErrorIs(t, <-done, pipeline.ErrStopping)
	})

	t.Run("outputs of a kind that failed are not published", func(t *testing.T) {
		t.Parallel()
		p := Publish{Handler: "h", Topics: topics, Holder: quick(nil), Send: func(context.Context, *message.Message, []Output, []pipeline.Write) ([]error, error) {
			panic("published")
		}}
		msg, _, _ := incoming(t)
		_, err := p.Middleware(func(in *message.Message) ([]*message.Message, error) {
			out, _ := produce("")(in)
			return out, errBoom
		})(msg)
		require.ErrorIs(t, err, errBoom)
	})
}

func TestPublish_JoinsNothingIntoSuccess(t *testing.T) {
	t.Parallel()
	p := Publish{Topics: map[string]string{"": "t"}, Handler: "h", Holder: quick(nil), Send: func(_ context.Context, _ *message.Message, out []Output, _ []pipeline.Write) ([]error, error) {
		errs := make([]error, len(out))
		errs[0] = pipeline.Permanent(errors.New("refused"))
		return errs, nil
	}}
	msg, _, _ := incoming(t)
	_, err := p.Middleware(produce("", ""))(msg)
	require.ErrorContains(t, err, "refused", "one refused output makes the message fail though the other was published")
}
