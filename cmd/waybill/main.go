// Command waybill is an order and event processor over a log broker.
// Everything is in package app, so that a program with kinds of its own is
// as short as this one.
package main

import (
	"os"

	"github.com/waybill-dev/waybill/cmd/waybill/app"
	"github.com/waybill-dev/waybill/handlers"
)

func main() {
	os.Exit(app.Main(app.Options{Kinds: handlers.Builtin()}))
}
