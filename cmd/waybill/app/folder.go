package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/waybill-dev/waybill/pipeline"
)

// makeData makes the pipeline's data folder if it is not there.
func makeData(p pipeline.Pipeline) error {
	if err := makeFolder(p.Data); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	return nil
}

// makeFolder makes a folder, and those above it, so that they outlive a power
// loss: what is synced inside would be lost with the folder's name, and that
// is durable only once the folder above is synced.
func makeFolder(path string) error {
	above := filepath.Dir(path)
	err := os.Mkdir(path, 0o750)
	if errors.Is(err, fs.ErrNotExist) && above != path {
		if err := makeFolder(above); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o750)
	}
	switch info, statErr := os.Stat(path); {
	case err == nil:
		return syncFolder(above)
	case statErr == nil && info.IsDir():
		return nil // it was there
	}
	return err
}

func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be synced there, and need not be
	}
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
