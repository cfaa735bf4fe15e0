// Command example is a Waybill with a handler kind of its own: `gift` marks
// orders over a sum as worth a gift. Copy this folder to begin your own.
//
//	go run ./cmd/example run --config cmd/example/waybill.yaml
package main

import (
	"fmt"
	"os"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/cmd/waybill/app"
	"github.com/waybill-dev/waybill/handlers"
	"github.com/waybill-dev/waybill/handlers/order"
	"github.com/waybill-dev/waybill/handlers/output"
	"github.com/waybill-dev/waybill/pipeline"
)

func main() {
	os.Exit(app.Main(app.Options{Kinds: handlers.Builtin().With(gift)}))
}

// giftConfig is what stands under `with:`.
type giftConfig struct {
	Items int `yaml:"items" doc:"An order with at least so many items gets a gift." min:"1"`
}

var gift = pipeline.Kind{
	Name:      "gift",
	Doc:       "Writes metadata gift=yes on orders with many items.",
	NewConfig: func() any { return &giftConfig{Items: 3} },
	New: func(env pipeline.Env, config any) (message.HandlerFunc, error) {
		c, ok := config.(*giftConfig)
		if !ok {
			return nil, fmt.Errorf("config is a %T", config)
		}
		return func(msg *message.Message) ([]*message.Message, error) {
			o, err := order.Parse(msg.Payload)
			if err != nil {
				return nil, err // it says itself that no retry can help
			}
			out := output.New(msg, "", msg.Payload)
			if len(o.Items) >= c.Items {
				out.Metadata.Set("gift", "yes")
				env.Log.InfoContext(msg.Context(), "a gift for "+o.ID)
			}
			return []*message.Message{out}, nil
		}, nil
	},
}
