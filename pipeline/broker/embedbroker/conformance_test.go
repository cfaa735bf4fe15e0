package embedbroker

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/broker/brokertest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "waybill.db")
	brokertest.Exercise(t, brokertest.Harness{
		Features: brokertest.Features{
			Name: pipeline.DriverEmbedded, Log: true, OneReader: true, MaxMessage: maxMessage + 1,
		},
		Open: func(t testing.TB, opts broker.Options) broker.Broker { return openAt(t, path, opts) },
	})
}

func openAt(t testing.TB, path string, opts broker.Options) broker.Broker {
	t.Helper()
	b, err := Open(pipeline.Broker{Name: "main", Driver: pipeline.DriverEmbedded, Path: path}, opts)
	require.NoError(t, err)
	return b
}
