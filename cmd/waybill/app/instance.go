package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/waybill-dev/waybill/pipeline"
)

// instanceID is the config's, or one that is made once and kept in the data
// folder, so that a restart is the same member of its consumer groups.
func instanceID(p pipeline.Pipeline) (string, error) {
	if p.Instance != "" {
		return p.Instance, nil
	}
	file := filepath.Join(p.Data, "instance")
	text, err := os.ReadFile(file)
	if id := strings.TrimSpace(string(text)); err == nil && id != "" {
		return id, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read instance id: %w", err)
	}
	id := uuid.NewString()[:8]
	if err := os.WriteFile(file, []byte(id+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keep instance id: %w", err)
	}
	return id, nil
}
