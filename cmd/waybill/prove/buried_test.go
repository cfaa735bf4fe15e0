package prove

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// buried are the payloads of all that is dead, as the store has them: the
// archiver has taken them from their topic.
func (p *plant) buried(t *testing.T) [][]byte {
	t.Helper()
	text, code := p.command(t, nil, "dlq", "export", "--state", "DEAD", "--config", p.config)
	require.Zero(t, code)
	var all [][]byte
	for line := range strings.Lines(text) {
		var letter struct {
			Payload []byte `json:"data_base64"`
		}
		require.NoErrorf(t, json.Unmarshal([]byte(line), &letter), "%s", line)
		all = append(all, letter.Payload)
	}
	return all
}
