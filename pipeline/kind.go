package pipeline

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Kind is a sort of handler that a config can name with `kind:`.
type Kind struct {
	// Name as it stands in the config, lower_snake_case.
	Name string
	// Doc is one paragraph for the generated reference.
	Doc string
	// Effect says that the kind acts on the world outside the pipeline, so
	// that running it twice, or on old messages, is worth a warning. A kind that
	// saves State runs again when another message was faster (see State), and
	// its effect happens again: one with an effect should not.
	Effect bool
	// Once says how the Effect with this config is kept from happening twice;
	// its nil, that nothing happens that could. Without the function it is kept
	// from happening twice for an id.
	Once func(config any) *Once
	// Outputs names the outputs that the kind writes to by name; `to:` must
	// have a topic for each. Nil: it writes the same to whatever outputs `to:`
	// has, or to its plain topic, or to nothing.
	Outputs func(config any) []string
	// Optional names further outputs, which it writes to where `to:` has them.
	Optional []string
	// NewConfig returns a pointer to the kind's config with its defaults set.
	// The loader decodes `with:` into it; yaml tags name the keys, doc tags
	// say what they mean. If it implements Validator, that is called too.
	NewConfig func() any
	// New makes the handler. It is called once for each handler of the kind
	// at start, with the decoded config; an error stops the start. The
	// function that it returns is called by many goroutines at once, each with
	// a copy of a message that is its own, to change or to pass on. It returns
	// the messages to publish; it never publishes or settles itself.
	New func(env Env, config any) (message.HandlerFunc, error)
}

// Once says how an effect is kept from happening twice (design §4, Receipts).
type Once struct {
	// Subject returns what the effect is done once for, in this handler. "":
	// nothing tells the message from others, and every one has its effect.
	Subject func(msg *message.Message) string
	// Doubt returns the error of a message whose effect began in a run that
	// did not come to its end, so that nobody knows whether it happened. Nil,
	// the function or the error: it is done again, under the same key.
	Doubt func(msg *message.Message) error
}

// OncePerID is the Once of a kind that says nothing else: an effect for each
// id, done again when in doubt.
func OncePerID() *Once {
	return &Once{Subject: func(msg *message.Message) string {
		if !Identified(msg) {
			return ""
		}
		return msg.UUID
	}}
}

// Validator is a kind's config that can check itself. It returns all that is
// wrong, each a FieldError where a single key is to blame.
type Validator interface{ Validate() []error }

// FieldError is a fault in one key of a config.
type FieldError struct {
	Pointer string // JSON Pointer below `with:`, for example "/split/rules/0/when"
	Err     error
}

func (e *FieldError) Error() string { return fmt.Sprintf("%s: %v", e.Pointer, e.Err) }
func (e *FieldError) Unwrap() error { return e.Err }

// Env is what a handler may use of its surroundings.
type Env struct {
	Handler string       // the handler's name in the config
	Version string       // hash of the handler's config, see MetaConfigVersion
	Outputs []string     // the names of its outputs; [""] for a plain `to:`
	Dir     string       // the config file's folder, where relative paths start
	Log     *slog.Logger // carries the handler's name
	OnStop  func(func()) // registers what to do once the handler has stopped
	State   State        // what the handler remembers; nil where there is no store
}

// Kinds is a set of kinds by name. The zero value is empty and ready.
type Kinds struct{ byName map[string]Kind }

// NewKinds returns a set of the given kinds. It panics if two share a name or
// one is incomplete: that is a fault of the program, not of its input.
func NewKinds(kinds ...Kind) Kinds { return Kinds{}.With(kinds...) }

// With returns a copy of the set with more kinds in it. It panics as NewKinds
// does.
func (k Kinds) With(kinds ...Kind) Kinds {
	all := make(map[string]Kind, len(k.byName)+len(kinds))
	for name, kind := range k.byName {
		all[name] = kind
	}
	for _, kind := range kinds {
		if kind.Name == "" || kind.NewConfig == nil || kind.New == nil {
			panic(fmt.Sprintf("kind %q needs Name, NewConfig and New", kind.Name))
		}
		if _, taken := all[kind.Name]; taken {
			panic(fmt.Sprintf("kind %q is registered twice", kind.Name))
		}
		all[kind.Name] = kind
	}
	return Kinds{byName: all}
}

// Get returns the kind of that name.
func (k Kinds) Get(name string) (Kind, bool) {
	kind, ok := k.byName[name]
	return kind, ok
}

// All lists the kinds in the order of their names.
func (k Kinds) All() []Kind {
	all := make([]Kind, 0, len(k.byName))
	for _, kind := range k.byName {
		all = append(all, kind)
	}
	slices.SortFunc(all, func(a, b Kind) int { return strings.Compare(a.Name, b.Name) })
	return all
}
