package rabbitbroker

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

func openLogged(t testing.TB, cfg pipeline.Broker, log *logBuffer) broker.Broker {
	t.Helper()
	b, err := Open(cfg, broker.Options{
		Instance: "test",
		Topic:    func(name string) (pipeline.Topic, bool) { return pipeline.Topic{Name: name}, true },
		Log:      slog.New(slog.NewTextHandler(log, nil)),
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// api calls the management API as the tests' administrator.
func (s server) api(t testing.TB, method, path string, body, into any) {
	t.Helper()
	u, err := url.Parse(s.management)
	require.NoError(t, err)
	user := u.User
	u.User = nil
	data, err := json.Marshal(body)
	require.NoError(t, err)
	request, err := http.NewRequest(method, strings.TrimSuffix(u.String(), "/")+"/api/"+path, bytes.NewReader(data))
	require.NoError(t, err)
	password, _ := user.Password()
	request.SetBasicAuth(user.Username(), password)
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.Less(t, response.StatusCode, 300, "%s %s: %s", method, path, response.Status)
	if into != nil {
		require.NoError(t, json.NewDecoder(response.Body).Decode(into))
	}
}

// newUser makes a user of the test's own, who may do everything.
func newUser(t testing.TB, s server) server {
	t.Helper()
	name := "u" + uuid.NewString()[:8]
	s.api(t, http.MethodPut, "users/"+name, map[string]string{"password": "secret", "tags": "monitoring"}, nil)
	t.Cleanup(func() { s.api(t, http.MethodDelete, "users/"+name, nil, nil) })
	s.allow(t, name, ".*", ".*", ".*")
	u, err := url.Parse(s.url)
	require.NoError(t, err)
	u.User = url.UserPassword(name, "secret")
	return server{url: u.String(), management: s.management}
}

func (s server) allow(t testing.TB, user, configure, write, read string) {
	t.Helper()
	s.api(t, http.MethodPut, "permissions/%2F/"+user,
		map[string]string{"configure": configure, "write": write, "read": read}, nil)
}

type apiConnection struct {
	User       string `json:"user"`
	Properties struct {
		Name string `json:"connection_name"`
	} `json:"client_properties"`
}

func connections(t testing.TB, s server) []apiConnection {
	var all []apiConnection
	s.api(t, http.MethodGet, "connections", nil, &all)
	return all
}
