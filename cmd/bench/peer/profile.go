package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"

	"github.com/waybill-dev/waybill/cmd/bench/job"
	"github.com/waybill-dev/waybill/cmd/waybill/app"
	"github.com/waybill-dev/waybill/handlers"
	"github.com/waybill-dev/waybill/routerconfig"
)

// profiledWaybill is what `waybill run` runs, and leaves profiles of CPU,
// contention, blocking and memory under the name spec.Profile. It is never
// measured: block and mutex profiles have their price.
func profiledWaybill(ctx context.Context, spec job.Spec, _ job.PrepareFunc) (err error) {
	loaded, err := routerconfig.Load(spec.Config, routerconfig.Options{Kinds: handlers.Builtin()})
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	a, err := app.New(loaded.Pipeline, app.Options{Kinds: handlers.Builtin(), Log: log})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(spec.Profile), 0o750); err != nil {
		return err
	}
	file, err := os.Create(spec.Profile + ".cpu.pprof")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	runtime.SetMutexProfileFraction(10)
	runtime.SetBlockProfileRate(10_000) // nanoseconds of blocking for a sample
	if err := pprof.StartCPUProfile(file); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	err = a.Run(ctx, context.Background())
	pprof.StopCPUProfile()
	return errors.Join(err, writeProfiles(spec.Profile))
}

func writeProfiles(name string) error {
	var errs []error
	for _, kind := range []string{"mutex", "block", "allocs"} {
		file, err := os.Create(name + "." + kind + ".pprof")
		if err != nil {
			return err
		}
		errs = append(errs, pprof.Lookup(kind).WriteTo(file, 0), file.Close())
	}
	return errors.Join(errs...)
}
