package handlers_test

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/handlers"
	"github.com/waybill-dev/waybill/handlers/order"
	"github.com/waybill-dev/waybill/handlers/output"
	"github.com/waybill-dev/waybill/pipeline"
)

// GreetConfig is what stands under `with:` of a handler of the kind greet.
type GreetConfig struct {
	Greeting string `yaml:"greeting" doc:"The word to greet with. It must not be empty."`
}

// Validate implements pipeline.Validator.
func (c *GreetConfig) Validate() []error {
	if c.Greeting == "" {
		return []error{&pipeline.FieldError{Pointer: "/greeting", Err: errors.New("must not be empty")}}
	}
	return nil
}

// Greet is a kind that writes a greeting to whoever placed an order.
func Greet() pipeline.Kind {
	return pipeline.Kind{
		Name:      "greet",
		Doc:       "Writes a greeting to the user of an order.",
		NewConfig: func() any { return &GreetConfig{Greeting: "Hello"} },
		New: func(env pipeline.Env, config any) (message.HandlerFunc, error) {
			g := &greeter{env: env, greeting: config.(*GreetConfig).Greeting}
			return g.handle, nil
		},
	}
}

// greeter is one handler of the kind.
type greeter struct {
	env      pipeline.Env
	greeting string
}

func (g *greeter) handle(msg *message.Message) ([]*message.Message, error) {
	o, err := order.Parse(msg.Payload)
	if err != nil {
		return nil, err // permanent already: the message is no order
	}
	if o.User == "" {
		return nil, pipeline.Invalid("order %q has no user to greet", o.ID)
	}
	text := fmt.Sprintf("%s, %s!", g.greeting, o.User)
	g.env.Log.Info("greeted", "order", o.ID)
	return output.Each(msg, g.env.Outputs, []byte(text)), nil
}

// Writing a kind of your own, and adding it to those of Waybill. A main of
// your own hands the set to app.Main; here we do by hand what the engine does
// with it.
func Example() {
	kinds := handlers.Builtin().With(Greet())

	kind, _ := kinds.Get("greet")
	env := pipeline.Env{Handler: "hello", Outputs: []string{""}, Log: slog.New(slog.DiscardHandler)}
	handle, err := kind.New(env, kind.NewConfig())
	if err != nil {
		fmt.Println(err)
		return
	}

	outs, err := handle(message.NewMessage("msg-1", []byte(`{"orderId": "ORD-1", "userId": "Ann"}`)))
	fmt.Println(string(outs[0].Payload), err)

	_, err = handle(message.NewMessage("msg-2", []byte(`{"orderId": "ORD-2"}`)))
	fmt.Println(err, "- permanent:", pipeline.IsPermanent(err))

	// Output:
	// Hello, Ann! <nil>
	// order "ORD-2" has no user to greet - permanent: true
}
