package routerconfig

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"

	"github.com/waybill-dev/waybill/pipeline"
)

// Options is what Load needs beside the file.
type Options struct {
	// Kinds are the handler kinds that the file may name.
	Kinds pipeline.Kinds
	// Set changes values of the file before anything is checked, each as
	// path=value. The path is a JSON Pointer or its keys with dots between,
	// the value is YAML: "handlers.prepare.concurrency=4". Without a value
	// the key goes back to its default.
	Set []string
	// Env looks up what ${VAR} stands for. Nil: os.LookupEnv.
	Env func(name string) (string, bool)
}

// Loaded is a config that has no errors.
type Loaded struct {
	// Pipeline is what the config says, checked, with all defaults.
	Pipeline pipeline.Pipeline
	// Warnings are the findings of level warning, by position.
	Warnings Findings

	echo []byte
}

// Echo is the effective config as YAML: every default filled in, every
// variable expanded, every secret shown as <secret> or as its file. Loading it
// in the same folder gives the same pipeline, unless a secret is hidden in it:
// then the findings name the secret.
func (l *Loaded) Echo() []byte { return l.echo }

// Load reads the config file at path. If the file is wrong, the error is of
// type Findings and holds everything that is, warnings too; any other error
// means that the file could not be read. Files of secrets that it names are
// read, nothing else is touched.
func Load(path string, o Options) (*Loaded, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	return LoadBytes(path, text, o)
}

// LoadBytes is Load for text that is in memory. The name stands for the file:
// in findings, and for its folder, where relative paths start.
func LoadBytes(name string, text []byte, o Options) (*Loaded, error) {
	dir, err := filepath.Abs(filepath.Dir(name))
	if err != nil {
		return nil, fmt.Errorf("find the config's folder: %w", err)
	}
	if o.Env == nil {
		o.Env = os.LookupEnv
	}
	r := newReport(name)
	r.root = parse(text, place{name, 1, 1}, o.Env, r)
	for _, arg := range o.Set {
		r.root = applySet(r.root, arg, o.Env, r)
	}
	c, files := decodeAndCheck(r, dir, o.Kinds)
	if r.findings.HasErrors() {
		return nil, r.findings.sorted()
	}
	e := encoder{files}
	p, err := compile(c, dir, e)
	if err != nil {
		return nil, fmt.Errorf("find the data folder: %w", err)
	}
	lint(c, p, o.Kinds, r)
	return &Loaded{Pipeline: p, Warnings: r.findings.sorted(), echo: e.yaml(c, "")}, nil
}

// decodeAndCheck returns what the nodes say, and which secrets came from
// files. The report has what is wrong.
func decodeAndCheck(r *report, dir string, kinds pipeline.Kinds) (*config, map[pointer]string) {
	c := &config{}
	c.SetDefaults()
	d := &decoder{report: r, dir: dir, files: map[pointer]string{}}
	d.decode(r.root, "", reflect.ValueOf(c).Elem())
	check := &checker{report: r, config: c, kinds: kinds}
	check.check()
	return c, d.files
}
