package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/waybill-dev/waybill/cmd/bench/job"
)

// ClientCommand is the subcommand of the benchmark's own binary that runs a
// peer. Its argument is a job.Spec as JSON.
const ClientCommand = "client"

// stopTimeout is how long a client gets to stop.
const stopTimeout = time.Minute

// client is an implementation at work: a process of its own.
type client struct {
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{}
	err  error // once done is closed
}

// start starts the n-th client of a spec. Its files go to dir.
func (o Options) start(spec job.Spec, n int) (*client, error) {
	cmd, err := o.command(spec, n)
	if err != nil {
		return nil, err
	}
	c := &client{cmd: cmd, done: make(chan struct{})}
	if c.log, err = os.Create(filepath.Join(o.Layout.Dir, fmt.Sprintf("client-%d.log", n))); err != nil {
		return nil, err
	}
	cmd.Dir, cmd.Stderr = o.Layout.Dir, c.log
	if err := c.launch(); err != nil {
		return nil, errors.Join(err, c.log.Close())
	}
	return c, nil
}

// launch starts the process and awaits its end on the side.
func (c *client) launch() error {
	c.cmd.SysProcAttr = ownGroup()
	if err := c.cmd.Start(); err != nil {
		return err
	}
	go func() {
		defer close(c.done)
		c.err = c.cmd.Wait()
	}()
	return nil
}

func (o Options) command(spec job.Spec, n int) (*exec.Cmd, error) {
	spec.Profile = o.Profile
	if job.IsWaybill(spec.Impl) && o.Profile == "" {
		return exec.Command(o.Layout.Waybill, "run", "--config", spec.Config, "--log-level", "warn", //nolint:gosec // our own binary
			"--set", fmt.Sprintf("data=data-%d", n)), nil
	}
	return peerCommand(spec)
}

// peerCommand is this very program as a client.
func peerCommand(spec job.Spec) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	return exec.Command(self, ClientCommand, string(text)), nil //nolint:gosec // ourselves
}

// alive is an error if the client has ended, which it does not do by itself.
func (c *client) alive() error {
	select {
	case <-c.done:
		return fmt.Errorf("the client has ended: %w: %s", c.err, c.tail())
	default:
		return nil
	}
}

// stop asks the client to stop, and requires that it says all went well.
func (c *client) stop() error {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended, which is seen below
	select {
	case <-c.done:
	case <-time.After(stopTimeout):
		_ = c.cmd.Process.Kill()
		<-c.done
		return fmt.Errorf("the client did not stop within %s: %s", stopTimeout, c.tail())
	}
	if c.err != nil {
		return fmt.Errorf("the client stopped badly: %w: %s", c.err, c.tail())
	}
	return nil
}

// tail is the end of what the client has logged.
func (c *client) tail() string {
	text, err := os.ReadFile(c.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(text[max(0, len(text)-2000):]))
}

// clients are all that work on one site.
type clients []*client

func (o Options) startAll(spec job.Spec) (clients, error) {
	var all clients
	for n := range max(1, o.Instances) {
		c, err := o.start(spec, n)
		if err != nil {
			all.end()
			return nil, fmt.Errorf("start client: %w", err)
		}
		all = append(all, c)
	}
	return all, nil
}

func (all clients) alive() error {
	for _, c := range all {
		if err := c.alive(); err != nil {
			return err
		}
	}
	return nil
}

func (all clients) stop() error {
	for _, c := range all { // all at once, as one waits for the group of the others
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
	}
	var errs []error
	for _, c := range all {
		errs = append(errs, c.stop())
	}
	return errors.Join(errs...)
}

// endTimeout is how long clients get to stop where a run has gone wrong.
const endTimeout = 5 * time.Second

// end ends all clients whatever they do: first in a good way, so that they
// leave their groups. Afterwards they have ended.
func (all clients) end() {
	late := time.After(endTimeout)
	for _, c := range all {
		_ = c.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	}
	for _, c := range all {
		select {
		case <-c.done:
		case <-late:
			all.kill() // one limit for all of them
			<-c.done
		}
		_ = c.log.Close()
	}
}

func (all clients) kill() {
	for _, c := range all {
		_ = c.cmd.Process.Kill()
	}
}

// usage is the CPU time of all clients so far, in their sum.
func (all clients) usage() (time.Duration, error) {
	total := time.Duration(0)
	for _, c := range all {
		t, err := cpu(c.cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		total += t
	}
	return total, nil
}

// peak is the peak memory of the largest client, in MB.
func (all clients) peak() (float64, error) {
	most := 0.0
	for _, c := range all {
		mb, err := peak(c.cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		most = max(most, mb)
	}
	return most, nil
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// tail is the end of what the first client has logged.
func (all clients) tail() string {
	if len(all) == 0 {
		return ""
	}
	return all[0].tail()
}
