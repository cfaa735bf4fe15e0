package broker

import (
	"errors"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

func TestPublishError(t *testing.T) {
	t.Parallel()
	require.NoError(t, PublishFailed(nil))
	require.NoError(t, PublishFailed(make([]error, 3)))

	large := pipeline.Permanent(pipeline.WithReason(errors.New("6 bytes are too many"), pipeline.ReasonTooLarge))
	err := PublishFailed([]error{nil, large, errors.New("other")})
	require.EqualError(t, err, "publish: 2 of 3 messages failed, the first: 6 bytes are too many")
	require.Equal(t, pipeline.ReasonTooLarge, pipeline.ReasonOf(err))
	require.True(t, pipeline.IsPermanent(err))

	err = PublishFailed([]error{large})
	require.EqualError(t, err, "publish: 6 bytes are too many")
	require.ErrorIs(t, err, large)
}

func TestKey(t *testing.T) {
	t.Parallel()
	topic := pipeline.Topic{Key: []string{"/orderId", "/orderid", "/deep/id"}}
	tests := []struct {
		name, payload, meta, want string
	}{
		{"Metadata", `{"orderId":"a"}`, "m", "m"},
		{"First", `{"orderId":"a","orderid":"b"}`, "", "a"},
		{"Second", `{"orderid":"b"}`, "", "b"},
		{"Deep", `{"deep":{"id":12345678901234567890}}`, "", "12345678901234567890"},
		{"Escaped", `{"orderId":"a\u00e6\n"}`, "", "aæ\n"},
		{"Missing", `{"other":1}`, "", ""},
		{"NotJSON", "\x00", "", ""},
		{"Empty", "", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			msg := message.NewMessage("id", []byte(test.payload))
			if test.meta != "" {
				msg.Metadata.Set(pipeline.MetaPartitionKey, test.meta)
			}
			require.Equal(t, test.want, Key(topic, msg))
		})
	}
}

func TestHealth_OK(t *testing.T) {
	t.Parallel()
	require.True(t, Health{Connected: true}.OK())
	require.False(t, Health{Connected: true, Blocked: "memory alarm"}.OK())
	require.False(t, Health{}.OK())
}
