// Package handlers lists the kinds of handlers that Waybill comes with; each
// is in a package of its own below it.
//
// # What a kind is
//
// A handler of a config reads one topic and runs a kind on each message:
//
//	handlers:
//	  greet:
//	    kind: greet          # the kind's name
//	    from: orders         # the topic that it reads
//	    to: greetings        # where what it returns goes
//	    with: {greeting: Hi} # the kind's own config
//
// A kind is a value, pipeline.Kind: a name, a config with its defaults, and a
// function New that makes a Watermill message.HandlerFunc of a config. That
// function takes one message and returns the messages to publish, or an error.
// The rest is the engine's: retries, timeouts, order, publishing, dead
// letters, acknowledgement.
//
// # Writing one
//
// The example of this package is a complete kind. What to mind:
//
//   - Config: a struct with yaml tags for keys and doc tags for the reference.
//     NewConfig returns a pointer to it with the defaults in. If something in
//     it can be wrong, implement pipeline.Validator, and return a
//     pipeline.FieldError for each key that is to blame.
//   - New runs once for each handler at the start. Compile, parse and read
//     files there; what you open, close in a function given to Env.OnStop.
//   - The handler function is called by many goroutines at once. It honours
//     the message's context, and returns context.Cause of it when it ends.
//   - Outputs are made with output.New, which copies the metadata and leaves
//     the id to the engine. With named outputs (`to:` is a map), Env.Outputs
//     has their names.
//   - Payloads are bytes that nobody changes. Hand on msg.Payload itself, or
//     make new bytes; never write into it.
//   - Errors decide. pipeline.Invalid: the message is wrong, it becomes a dead
//     letter at once. pipeline.Permanent: no retry can help. Any other error
//     is tried again; pipeline.RetryAfter says when, pipeline.WithReason what
//     kind of failure it was. What an error says is stored and shown, so it
//     must not hold a secret.
//   - What a kind has to remember it keeps in Env.State, and adds to the
//     message's outcome right before it returns success: pipeline.State shows
//     how. State is nil where there is no store; New says so then.
//   - A kind that acts on the world outside sets Effect, and gives the other
//     side a key that is the same for every try of a message. It gets receipts
//     by message id then; Kind.Once and package once make that the order's.
//
// Test it with package handlertest, and hand it to your main as
// handlers.Builtin().With(yours).
package handlers
