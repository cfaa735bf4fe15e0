package routerconfig

import (
	"bytes"
	"errors"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	maxBytes = 1 << 20 // of a config file or a secret's file
	maxNodes = 100_000 // with all aliases written out
	maxDepth = 100     // of brackets in brackets, or of marks such as "- - -" on one line
)

// parse reads text into nodes: anchors and merges resolved, variables
// expanded. Faults go to the report; what has one is a node marked broken.
// Without a line in at, positions stay 0 (values of --set).
func parse(text []byte, at place, env func(string) (string, bool), r *report) *node {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	c := &converter{at: at, env: env, report: r, anchors: map[string]*node{}, lines: strings.Split(string(text), "\n")}
	if len(text) > maxBytes {
		return c.broken(at, "", "split it up", "the config is larger than 1 MiB")
	}
	tokens := lexer.Tokenize(string(text))
	if deep := tooDeep(tokens); deep != nil {
		return c.broken(c.place(deep), "", "", "values are nested more than %d deep", maxDepth)
	}
	file, err := parseTokens(tokens)
	if err != nil {
		return c.broken(c.errorPlace(err), "", "", "%s", syntaxMessage(err))
	}
	return c.document(file)
}

// tooDeep returns the token that is nested deeper than maxDepth, or nil. The
// parser recurses, so this has to be known before.
func tooDeep(tokens token.Tokens) *token.Token {
	brackets, marks, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			marks, line = 0, t.Position.Line
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets--
		case token.SequenceEntryType, token.MappingKeyType, token.TagType, token.AnchorType:
			marks++
		}
		if max(brackets, marks) > maxDepth {
			return t
		}
	}
	return nil
}

// parseTokens is the library's parser, with its panics as errors. Duplicate
// keys pass: the converter tells of all of them.
func parseTokens(tokens token.Tokens) (file *ast.File, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = errors.New("this is not YAML that can be read")
		}
	}()
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

// syntaxMessage is the error without the excerpt of the file, which could hold
// a secret.
func syntaxMessage(err error) string {
	var syntax yaml.Error
	if errors.As(err, &syntax) {
		return syntax.GetMessage()
	}
	return err.Error()
}
