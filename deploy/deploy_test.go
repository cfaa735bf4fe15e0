// Package deploy_test holds the files of this folder to what they promise.
package deploy_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/waybill-dev/waybill/handlers"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/routerconfig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const unitFile = "systemd/waybill.service"

// unit is a parsed unit file: the values of each key, in their order, by
// "Section.Key".
type unit map[string][]string

func readUnit(t *testing.T) unit {
	t.Helper()
	u := unit{}
	section := ""
	for line := range strings.Lines(read(t, unitFile)) {
		line = strings.TrimSpace(line)
		switch key, value, ok := strings.Cut(line, "="); {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
		default:
			require.True(t, ok, "not key=value: %q", line)
			u[section+"."+key] = append(u[section+"."+key], value)
		}
	}
	return u
}

// one returns the value of a key that is there exactly once.
func (u unit) one(t *testing.T, key string) string {
	t.Helper()
	require.Len(t, u[key], 1, key)
	return u[key][0]
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

func TestUnit(t *testing.T) {
	t.Parallel()
	u := readUnit(t)
	t.Run("2-14 it starts after the network, as its own user, restarts, and logs to the journal", func(t *testing.T) {
		t.Parallel()
		require.NotEmpty(t, u.one(t, "Unit.Description"))
		require.Contains(t, strings.Fields(u.one(t, "Unit.After")), "network.target")
		require.Equal(t, "waybill", u.one(t, "Service.User"))
		require.Equal(t, "/var/lib/waybill", u.one(t, "Service.WorkingDirectory"))
		require.Equal(t, "-/etc/waybill/waybill.env", u.one(t, "Service.EnvironmentFile"))
		require.Equal(t, "/usr/local/bin/waybill run --config /etc/waybill/waybill.yaml", u.one(t, "Service.ExecStart"))
		require.Equal(t, "journal", u.one(t, "Service.StandardOutput"))
		require.Equal(t, "journal", u.one(t, "Service.StandardError"))
		require.Equal(t, "waybill", u.one(t, "Service.SyslogIdentifier"))
		require.Equal(t, "multi-user.target", u.one(t, "Install.WantedBy"))
	})
	t.Run("2-15 it is started again 10 s after any end, for ever", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, "always", u.one(t, "Service.Restart"))
		require.Equal(t, "10", u.one(t, "Service.RestartSec"))
		require.Equal(t, "0", u.one(t, "Unit.StartLimitIntervalSec"))
	})
	t.Run("2-16 it has no privileges and owns its log folder", func(t *testing.T) {
		t.Parallel()
		require.NotEqual(t, "root", u.one(t, "Service.User"))
		require.Equal(t, "waybill", u.one(t, "Service.LogsDirectory"))
		require.Equal(t, "waybill", u.one(t, "Service.StateDirectory"))
		require.Equal(t, "true", u.one(t, "Service.NoNewPrivileges"))
		require.Empty(t, u.one(t, "Service.CapabilityBoundingSet"))
		require.Equal(t, "strict", u.one(t, "Service.ProtectSystem"))
	})
	t.Run("2-16 the container runs as uid 1001", func(t *testing.T) {
		t.Parallel()
		require.Contains(t, read(t, "Dockerfile"), "\nUSER 1001:1001\n")
	})
}

// TestUnit_StopOutlastsDrain: the kill must come after the drain had its time.
func TestUnit_StopOutlastsDrain(t *testing.T) {
	t.Parallel()
	require.Equal(t, "45", readUnit(t).one(t, "Service.TimeoutStopSec"))
	p := load(t, "data: d\nbrokers: {main: {driver: embedded}}\n")
	require.Less(t, p.ShutdownTimeout.Seconds(), 45.0-10)
}

// TestUnit_Verify has systemd read the file, with a program in place of ours.
func TestUnit_Verify(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze here")
	}
	program, err := os.Executable()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "waybill.service")
	text := strings.ReplaceAll(read(t, unitFile), "/usr/local/bin/waybill ", program+" ")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", file).CombinedOutput()
	require.NoError(t, err, string(out))
	require.NotContains(t, string(out), "Unknown", "a key that systemd does not know")
}

// TestKubernetes_Config holds the config in the ConfigMap to the grammar.
func TestKubernetes_Config(t *testing.T) {
	t.Parallel()
	objects := map[string]object{}
	decoder := yaml.NewDecoder(strings.NewReader(read(t, "kubernetes/waybill.yaml")))
	for {
		var o object
		if decoder.Decode(&o) != nil {
			break
		}
		objects[o.Kind] = o
	}
	require.ElementsMatch(t, []string{"Secret", "ConfigMap", "Service", "StatefulSet"}, slices.Collect(maps.Keys(objects)))

	dir := t.TempDir()
	for name, value := range objects["Secret"].StringData {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600))
	}
	text := strings.ReplaceAll(objects["ConfigMap"].Data["waybill.yaml"], "/run/secrets/waybill", dir)
	p := load(t, text)
	require.Equal(t, "waybill-0", p.Instance)
	require.Len(t, p.Handlers, 1)
}

type object struct {
	Kind       string            `yaml:"kind"`
	Data       map[string]string `yaml:"data"`
	StringData map[string]string `yaml:"stringData"`
}

func load(t *testing.T, text string) pipeline.Pipeline {
	t.Helper()
	loaded, err := routerconfig.LoadBytes(filepath.Join(t.TempDir(), "waybill.yaml"), []byte(text), routerconfig.Options{
		Kinds: handlers.Builtin(),
		Env:   func(name string) (string, bool) { return "waybill-0", name == "POD_NAME" },
	})
	require.NoError(t, err)
	require.Empty(t, loaded.Warnings)
	return loaded.Pipeline
}

// TestCompose_Config holds the config of the compose file to the grammar.
func TestCompose_Config(t *testing.T) {
	t.Parallel()
	var compose struct {
		Services map[string]struct {
			Volumes []string `yaml:"volumes"`
		} `yaml:"services"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, "compose.yaml")), &compose))
	require.Contains(t, compose.Services["waybill"].Volumes, "./compose.waybill.yaml:/etc/waybill/waybill.yaml:ro")
	for _, volume := range compose.Services["waybill"].Volumes {
		if from, _, _ := strings.Cut(volume, ":"); strings.HasPrefix(from, "./") {
			require.FileExists(t, from)
		}
	}
	p := load(t, read(t, "compose.waybill.yaml"))
	require.Equal(t, pipeline.DriverRabbitMQ, p.Brokers[p.Topics["orders-in"].Broker].Driver)
	require.Equal(t, pipeline.DriverKafka, p.Brokers[p.Topics["prepared-orders"].Broker].Driver)
}
