package dashboard

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// importing takes all that is imported.
type importing struct {
	store.Store
	chunks []int
}

func (s *importing) ImportLetters(_ context.Context, letters []store.DeadLetter, _ func(int) []pipeline.Write) (int, error) {
	s.chunks = append(s.chunks, len(letters))
	return len(letters), nil
}

// TestImport_HoldsFewLargeLetters: what an import has in memory is bounded by
// bytes, too, and each line has its time to arrive.
func TestImport_HoldsFewLargeLetters(t *testing.T) {
	t.Parallel()
	data := base64.StdEncoding.EncodeToString(make([]byte, store.PageBytes/2))
	var lines strings.Builder
	for i := range 7 {
		fmt.Fprintf(&lines, `{"specversion":"1.0","id":"m-%d","dlhandler":"work","data_base64":"%s"}`+"\n", i, data)
	}
	waits := 0
	s := &importing{}
	in := &importInput{body: strings.NewReader(lines.String()), wait: func() error {
		waits++
		return nil
	}}
	out, err := letters{s}.importAll(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, Imported{Count: 7}, out.Body)
	require.Equal(t, []int{3, 3, 1}, s.chunks)
	require.Equal(t, 8, waits, "for each line, and the end")
}
