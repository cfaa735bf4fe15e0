package prove

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/dashboard"
)

// The programs under test, each built once.
var (
	build       = program("..")
	buildDeadly = program("./deadly")
)

// built are the folders of what was built.
var built struct {
	sync.Mutex
	dirs []string
}

func program(pkg string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		dir, err := os.MkdirTemp("", "waybill-prove-")
		if err != nil {
			return "", err
		}
		built.Lock()
		built.dirs = append(built.dirs, dir)
		built.Unlock()
		bin := filepath.Join(dir, "waybill")
		out, err := exec.Command("go", "build", "-o", bin, pkg).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
		return bin, nil
	})
}

// process is one life of the binary.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  *os.File
	http *http.Client
	done chan struct{}
	err  error
}

// start runs the binary with the pipeline, and waits until it is ready.
func (p *plant) start(t *testing.T) *process {
	t.Helper()
	run := p.launch(t)
	run.await(run.ready, "it is ready")
	return run
}

// launch runs the binary and does not wait.
func (p *plant) launch(t *testing.T) *process {
	t.Helper()
	bin, err := p.build()
	require.NoError(t, err)
	log, err := os.OpenFile(filepath.Join(p.dir, "waybill.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	run := &process{t: t, log: log, done: make(chan struct{})}
	run.cmd = exec.Command(bin, "run", "--config", p.config)
	run.cmd.Dir, run.cmd.Stderr, run.cmd.Stdout = p.dir, log, log
	require.NoError(t, run.cmd.Start())
	socket := filepath.Join(p.dir, p.data(), "waybill.sock")
	run.http = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	go func() {
		run.err = run.cmd.Wait()
		close(run.done)
	}()
	t.Cleanup(run.kill)
	return run
}

// ready reports whether it is; notes may follow.
func (run *process) ready() bool { return strings.HasPrefix(run.get("/ready"), "ready\n") }

// get returns the body of a path of the API, or "" while nobody answers.
func (run *process) get(path string) string {
	res, err := run.http.Get("http://waybill" + path)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return ""
	}
	return string(text)
}

// publish offers a message and returns the status and the text of the answer;
// 0: nobody answered.
func (run *process) publish(topic, id string, payload []byte) (status int, answer string) {
	req, err := http.NewRequest(http.MethodPost, "http://waybill/api/v1/topics/"+topic+"/messages", bytes.NewReader(payload))
	require.NoError(run.t, err)
	req.Header.Set("Idempotency-Key", id)
	res, err := run.http.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(text)
}

// await polls until ok, for long enough that only a fault can take longer.
func (run *process) await(ok func() bool, what string) {
	run.t.Helper()
	if !run.watch(ok, what) {
		require.Failf(run.t, "waybill has ended", "before %s: %v\n%s", what, run.err, run.tail())
	}
}

// watch is await where the process may end. False: it has.
func (run *process) watch(ok func() bool, what string) bool {
	run.t.Helper()
	limit := time.After(4 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-run.done:
			return false
		case <-limit:
			require.Failf(run.t, "waited in vain", "%s\n%s\n%s", what, run.get("/ready"), run.tail())
		}
	}
	return true
}

// over reports whether the process has ended.
func (run *process) over() bool {
	select {
	case <-run.done:
		return true
	default:
		return false
	}
}

// tail is the end of the log.
func (run *process) tail() string {
	text, err := os.ReadFile(run.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-3000):])
}

// waiting is how many messages the handlers have left: those that the broker
// has, and those that the process has taken.
func (run *process) waiting() int64 {
	var answer struct {
		Brokers []dashboard.Report `json:"brokers"`
	}
	if err := json.Unmarshal([]byte(run.get("/api/v1/doctor")), &answer); err != nil || len(answer.Brokers) == 0 {
		return -1
	}
	n := int64(run.inHand())
	for _, s := range answer.Brokers[0].Subscriptions {
		if strings.Contains(s.Name, ".") {
			n += max(s.Ready, 0) + max(s.InFlight, 0)
		}
	}
	return n
}

// inHand is how many messages the process has taken and not settled.
func (run *process) inHand() float64 { return run.metric("waybill_in_flight_messages") }

// processed is how many messages this life of the process is done with.
func (run *process) processed() float64 { return run.metric("waybill_messages_processed_total") }

// metric is the sum of a metric over its labels.
func (run *process) metric(name string) float64 {
	n := 0.0
	for line := range strings.Lines(run.get("/metrics")) {
		if strings.HasPrefix(line, name+"{") {
			_, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
			if v, err := strconv.ParseFloat(value, 64); err == nil {
				n += v
			}
		}
	}
	return n
}

// kill ends the process as a power cut would.
func (run *process) kill() {
	_ = run.cmd.Process.Signal(syscall.SIGKILL)
	<-run.done
	run.http.CloseIdleConnections()
	_ = run.log.Close()
}

// stop ends the process as an operator would, and requires that it says that
// all went well.
func (run *process) stop() {
	run.t.Helper()
	run.interrupt()
	require.NoErrorf(run.t, run.err, "exit after SIGTERM\n%s", run.tail())
}

// interrupt ends the process as an operator would.
func (run *process) interrupt() {
	run.t.Helper()
	require.NoError(run.t, run.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-run.done:
	case <-time.After(time.Minute):
		require.Fail(run.t, "it did not stop", run.tail())
	}
}

// command runs a subcommand of the binary to its end.
func (p *plant) command(t *testing.T, in []byte, args ...string) (string, int) {
	t.Helper()
	bin, err := p.build()
	require.NoError(t, err)
	cmd := exec.Command(bin, args...)
	cmd.Dir, cmd.Stdin = p.dir, bytes.NewReader(in)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	code := cmd.ProcessState.ExitCode()
	if err != nil {
		t.Logf("waybill %s: %v: %s", strings.Join(args[:1], " "), err, errs.String())
	}
	return out.String(), code
}
