// Package files reads what a handler's config names by its path: secrets and
// certificates. Relative paths start at the config file's folder.
package files

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/waybill-dev/waybill/pipeline"
)

// Secret reads a secret. One newline at the end of the file, as editors leave
// it, is not part of the secret. An empty secret is an error.
func Secret(dir, path string) (pipeline.Secret, error) {
	raw, err := read(dir, path)
	if err != nil {
		return "", err
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
	if text == "" {
		return "", fmt.Errorf("read %s: the file holds no secret", path)
	}
	return pipeline.Secret(text), nil
}

// Roots reads the PEM certificates of the authorities to trust. An empty path
// gives nil, which stands for those of the system.
func Roots(dir, path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil // nil is what crypto/tls takes for the system's
	}
	raw, err := read(dir, path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("read %s: there is no PEM certificate in it", path)
	}
	return pool, nil
}

func read(dir, path string) ([]byte, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	return os.ReadFile(path)
}
