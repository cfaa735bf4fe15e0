package routerconfig

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
)

// secretFile sets the secret f from the file that the entry e of the map n
// names. Every secret key has such a twin, so that no secret has to stand in
// the config: password_file for password, url_file for url.
func (d *decoder) secretFile(n *node, e entry, p pointer, v reflect.Value, f *field) {
	at := p.key(e.key)
	if n.lookup(f.key) != nil {
		d.report.errorAt(e.at, at, "keep one of the two", "%s is given too", f.key)
		return
	}
	var path string
	d.decode(e.value, at, reflect.ValueOf(&path).Elem())
	if d.report.blames(at) {
		d.report.blame(p.key(f.key))
		return
	}
	text, err := readSecret(resolvePath(d.dir, path))
	if err != nil {
		d.report.blame(p.key(f.key))
		d.report.errorAt(e.value.at, at, "a relative path starts in the config file's folder", "%s cannot be read: %v", path, err)
		return
	}
	v.SetString(text)
	d.files[p.key(f.key)] = path
}

// readSecret returns what the file holds without the line's end. The error
// says neither what is in it nor where it is.
func readSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", withoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return "", errNotRegular
	}
	file, err := os.Open(path)
	if err != nil {
		return "", withoutPath(err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxBytes))
	if err != nil {
		return "", withoutPath(err)
	}
	text = bytes.TrimRight(text, "\r\n")
	if len(text) == 0 {
		return "", errEmptyFile
	}
	return string(text), nil
}

var (
	errNotRegular = errors.New("it is not a regular file")
	errEmptyFile  = errors.New("it is empty")
)

// withoutPath is err without the path, which the finding has as it is written.
func withoutPath(err error) error {
	var inner *fs.PathError
	if errors.As(err, &inner) {
		return inner.Err
	}
	return err
}

// resolvePath lets a relative path start in dir; "" stays "".
func resolvePath(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
