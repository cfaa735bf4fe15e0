package sqlitefile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

const testSchema = `CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v TEXT UNIQUE)`

func openTest(t testing.TB) *File {
	t.Helper()
	f, err := Open(filepath.Join(t.TempDir(), "test.db"), Options{Schema: testSchema})
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func insert(v string) func(*Tx) error {
	return func(tx *Tx) error {
		_, err := tx.Exec("INSERT INTO t (v) VALUES (?)", v)
		return err
	}
}

func count(t testing.TB, f *File) int {
	t.Helper()
	var n int
	require.NoError(t, f.Reader().QueryRow("SELECT count(*) FROM t").Scan(&n))
	return n
}

// hold keeps the writer busy until the function that it returns is called, so
// that what is written meanwhile makes one batch.
func hold(t testing.TB, f *File) (release func()) {
	t.Helper()
	running, gate, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- f.Write(context.Background(), func(*Tx) error {
			close(running)
			<-gate
			return errors.New("held")
		})
	}()
	<-running
	return func() {
		close(gate)
		require.ErrorContains(t, <-ended, "held")
	}
}

func queued(t testing.TB, f *File, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(f.writer.queue) == n }, 10*time.Second, time.Millisecond)
}

func TestOpen_Settings(t *testing.T) {
	t.Parallel()
	for _, normal := range []bool{false, true} {
		f, err := Open(filepath.Join(t.TempDir(), "settings.db"), Options{Schema: testSchema, Normal: normal})
		require.NoError(t, err)
		want := map[string]string{"page_size": "16384", "journal_mode": "wal", "synchronous": "2"}
		if normal {
			want["synchronous"] = "1"
		}
		for pragma, value := range want {
			var got string
			require.NoError(t, f.Write(t.Context(), func(tx *Tx) error { return tx.QueryRow("PRAGMA " + pragma).Scan(&got) }))
			require.Equal(t, value, got, pragma)
		}
		_, err = f.Reader().Exec("INSERT INTO t (v) VALUES ('x')")
		require.ErrorContains(t, err, "readonly")
		require.NoError(t, f.Close())
	}
}

func TestOpen_SharedInAProcess(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	one, err := Open(filepath.Join(folder, "a.db"), Options{Schema: testSchema})
	require.NoError(t, err)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(folder, link))
	two, err := Open(filepath.Join(link, "a.db"), Options{})
	require.NoError(t, err)
	require.Same(t, one, two)
	require.NoError(t, two.Close())
	require.NoError(t, one.Write(t.Context(), insert("still open")))
	require.NoError(t, one.Close())
	err = one.Write(t.Context(), insert("closed"))
	require.ErrorIs(t, err, ErrClosed)
	require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err))
}

func TestOpen_RefusedToAnotherProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "locked.db")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), openEnv+"="+path)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "open\n", line)

	_, err = Open(path, Options{})
	require.ErrorContains(t, err, fmt.Sprintf("locked.db: it is in use by another waybill (pid %d)", cmd.Process.Pid))
	require.ErrorContains(t, err, "--server")
	require.NoError(t, stdin.Close())
	require.NoError(t, cmd.Wait())

	f, err := Open(path, Options{}) // its lock went with it
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestOpen_Failures(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	_, err := Open(filepath.Join(folder, "nowhere", "x.db"), Options{})
	require.ErrorIs(t, err, os.ErrNotExist)

	path := filepath.Join(folder, "bad.db")
	_, err = Open(path, Options{Schema: "CREATE TABEL"})
	require.ErrorContains(t, err, "make tables")

	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("not a database ", 1000)), 0o600))
	_, err = Open(path, Options{Schema: testSchema})
	require.ErrorContains(t, err, "not a database")
	require.NoError(t, os.Remove(path))
	f, err := Open(path, Options{Schema: testSchema}) // nothing is held by what failed
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// TestWrite_Group: writes that wait share a transaction, whose end runs once.
func TestWrite_Group(t *testing.T) {
	t.Parallel()
	const writes = 100
	f := openTest(t)
	release := hold(t, f)
	var wg sync.WaitGroup
	var ends, commits atomic.Int32
	var visible atomic.Bool
	for i := range writes {
		wg.Go(func() {
			err := f.Write(context.Background(), func(tx *Tx) error {
				n, _ := tx.AtEnd("counter", func() (any, func() error) {
					n := new(int)
					tx.OnCommit(func() { commits.Add(1); visible.Store(count(t, f) == *n) })
					return n, func() error { ends.Add(1); return nil }
				}).(*int)
				*n++
				return insert(strconv.Itoa(i))(tx)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	queued(t, f, writes)
	release()
	wg.Wait()
	require.Equal(t, writes, count(t, f))
	// The one that held the writer failed, so that its batch ran apart, too.
	require.LessOrEqual(t, commits.Load(), int32(2), "transactions")
	require.LessOrEqual(t, ends.Load(), int32(3), "ends")
	require.True(t, visible.Load(), "OnCommit runs once readers see it")
}

// TestWrite_OneFailsAlone: an error, a constraint or a panic takes only its
// own write with it, and all that it registered to undo is undone.
func TestWrite_OneFailsAlone(t *testing.T) {
	t.Parallel()
	f := openTest(t)
	require.NoError(t, f.Write(t.Context(), insert("taken")))
	release := hold(t, f)
	balance := 0 // what the writes keep in memory; the writer's goroutine alone touches it
	own := errors.New("its own mistake")
	writes := map[string]func(*Tx) error{
		"fails":      func(*Tx) error { return own },
		"constraint": insert("taken"),
		"panics":     func(*Tx) error { panic("oops") },
	}
	for i := range 20 {
		writes[fmt.Sprintf("good%d", i)] = insert(fmt.Sprintf("good%d", i))
	}
	errs := make(map[string]error)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for name, write := range writes {
		wg.Go(func() {
			err := f.Write(context.Background(), func(tx *Tx) error {
				balance++
				tx.OnUndo(func() { balance-- })
				return write(tx)
			})
			mu.Lock()
			defer mu.Unlock()
			errs[name] = err
		})
	}
	queued(t, f, len(writes))
	release()
	wg.Wait()
	require.ErrorIs(t, errs["fails"], own)
	require.ErrorContains(t, errs["constraint"], "UNIQUE")
	require.NotEqual(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(errs["constraint"]))
	require.Equal(t, pipeline.ReasonPanic, pipeline.ReasonOf(errs["panics"]))
	for i := range 20 {
		require.NoError(t, errs[fmt.Sprintf("good%d", i)])
	}
	require.Equal(t, 21, count(t, f))
	require.Equal(t, 20, balance)
}

func TestWrite_Context(t *testing.T) {
	t.Parallel()
	f := openTest(t)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, f.Write(over, insert("never")), context.Canceled)

	release := hold(t, f)
	waiting, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Write(waiting, insert("gone")) }()
	queued(t, f, 1)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	release()
	require.NoError(t, f.Write(t.Context(), insert("later")))
	require.Equal(t, 1, count(t, f), "a write whose caller has gone never runs")
}

// TestWrite_DiskFull: a full disk fails what is written with the reason and
// the next step, and writing goes on once there is room.
func TestWrite_DiskFull(t *testing.T) {
	t.Parallel()
	f := openTest(t)
	require.NoError(t, f.Write(t.Context(), insert("before")))
	limit := func(pages int) {
		require.NoError(t, f.Write(t.Context(), func(tx *Tx) error {
			var got int
			return tx.QueryRow(fmt.Sprintf("PRAGMA max_page_count(%d)", pages)).Scan(&got)
		}))
	}
	limit(10)
	big := strings.Repeat("x", 1<<20)
	err := f.Write(t.Context(), insert(big))
	require.ErrorContains(t, err, "free some space")
	require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err))
	require.False(t, pipeline.IsPermanent(err))
	require.Equal(t, 1, count(t, f))
	limit(1 << 20)
	require.NoError(t, f.Write(t.Context(), insert(big)))
	require.Equal(t, 2, count(t, f))
}

// TestWrite_BatchIsBounded: neither count nor bytes of a transaction grow
// without end.
func TestWrite_BatchIsBounded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ writes, size, most int }{
		"Count": {3 * maxBatch / 2, 1, maxBatch},
		"Bytes": {12, maxBatchBytes / 4, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := openTest(t)
			release := hold(t, f)
			value := strings.Repeat("x", test.size)
			batches := make(map[*Tx]int) // the writer's goroutine alone touches it
			var wg sync.WaitGroup
			for i := range test.writes {
				wg.Go(func() {
					err := f.Write(context.Background(), func(tx *Tx) error {
						batches[tx]++
						return insert(strconv.Itoa(i) + value)(tx)
					})
					if err != nil {
						t.Error(err)
					}
				})
			}
			queued(t, f, test.writes)
			release()
			wg.Wait()
			require.Greater(t, len(batches), 1)
			for _, n := range batches {
				require.LessOrEqual(t, n, test.most)
			}
			require.Equal(t, test.writes, count(t, f))
		})
	}
}

// TestClose_WritesWhatWaits: what was accepted before Close is written.
func TestClose_WritesWhatWaits(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "close.db")
	f, err := Open(path, Options{Schema: testSchema})
	require.NoError(t, err)
	var wrote atomic.Int32
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			err := f.Write(context.Background(), insert(strconv.Itoa(i)))
			if err == nil {
				wrote.Add(1)
			} else if !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		})
	}
	require.Eventually(t, func() bool { return wrote.Load() > 0 }, 10*time.Second, time.Millisecond)
	require.NoError(t, f.Close())
	wg.Wait()
	f, err = Open(path, Options{})
	require.NoError(t, err)
	require.Equal(t, int(wrote.Load()), count(t, f))
	require.NoError(t, f.Close())
}

func BenchmarkWrite(b *testing.B) {
	f := openTest(b)
	value := strings.Repeat("x", 1000)
	var n atomic.Int64
	b.SetParallelism(128)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if err := f.Write(context.Background(), insert(strconv.FormatInt(n.Add(1), 10)+value)); err != nil {
				b.Error(err)
			}
		}
	})
}
