package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/waybill-dev/waybill/cmd/bench/job"
	"github.com/waybill-dev/waybill/cmd/bench/peer"
	"github.com/waybill-dev/waybill/cmd/bench/trial"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := 0
	if len(os.Args) == 3 && os.Args[1] == trial.ClientCommand {
		code = client(ctx, os.Args[2])
	} else {
		code = bench(ctx, os.Args[1:])
	}
	stop()
	os.Exit(code)
}

// client runs a peer until it is asked to stop.
func client(ctx context.Context, text string) int {
	var spec job.Spec
	err := json.Unmarshal([]byte(text), &spec)
	if err == nil {
		var prepare job.PrepareFunc
		if prepare, err = job.NewPrepare(); err == nil {
			err = peer.Run(ctx, spec, prepare)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
