// Command deadly is Waybill with a kind of which some messages kill the
// process, each in a way that no recover stops. The proof of the attempt
// journal runs it.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/cmd/waybill/app"
	"github.com/waybill-dev/waybill/handlers"
	"github.com/waybill-dev/waybill/pipeline"
)

func main() {
	os.Exit(app.Main(app.Options{Kinds: handlers.Builtin().With(kind)}))
}

// config is `with:` of the kind.
type config struct {
	Deaths string `yaml:"deaths" doc:"file that gets a line for each death: the message's id"`
}

// order is what the kind reads of a message.
type order struct {
	ID    string `json:"id"`
	Die   string `json:"die"`   // how; "": it does not
	Pause int    `json:"pause"` // milliseconds that the run takes, whatever its context says
}

var kind = pipeline.Kind{
	Name: "deadly", Doc: "Passes orders on, and dies of those that say so.",
	NewConfig: func() any { return &config{} },
	New: func(_ pipeline.Env, c any) (message.HandlerFunc, error) {
		deaths := c.(*config).Deaths
		return func(msg *message.Message) ([]*message.Message, error) {
			var o order
			if err := json.Unmarshal(msg.Payload, &o); err != nil {
				return nil, pipeline.Invalid("read order: %w", err)
			}
			<-time.After(time.Duration(o.Pause) * time.Millisecond)
			if die, ok := ways[o.Die]; ok {
				note(deaths, o.ID)
				die()
			}
			return []*message.Message{msg}, nil
		}, nil
	},
}

// note writes the death down before it comes.
func note(file, id string) {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	fmt.Fprintln(f, id)
}

var ways = map[string]func(){
	"exit": func() { os.Exit(7) },
	"kill": func() {
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			panic(err)
		}
		_ = self.Kill()
		select {} // it comes
	},
	"overflow": func() {
		debug.SetMaxStack(1 << 20)
		fmt.Fprintln(os.Stderr, overflow(0))
	},
	"panic": func() { // in a goroutine of the kind's own, where nobody recovers it
		go func() { panic("ouch") }()
		select {}
	},
}

func overflow(depth int) int {
	if depth < 0 { // never: the stack ends before
		return 0
	}
	return overflow(depth+1) + 1
}
