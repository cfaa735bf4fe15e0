package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/dashboard"
)

// listen serves h on the socket in the data folder, and on TCP unless that is
// off.
func (a *App) listen(h http.Handler) error {
	socket, err := listenSocket(socketPath(a.pipeline))
	if err != nil {
		return err
	}
	a.serve("socket", socket, h)
	if a.pipeline.HTTP.Listen == "off" {
		return nil
	}
	token, err := a.token()
	if err != nil {
		return err
	}
	tcp, err := net.Listen("tcp", a.pipeline.HTTP.Listen)
	if err != nil {
		return fmt.Errorf("listen for HTTP: %w: set http.listen to another address, or to \"off\"", err)
	}
	if token != "" {
		h = dashboard.WithToken(h, token)
	} else {
		h = dashboard.OnlyLocal(h)
	}
	a.log.Info("serving the API on http://" + tcp.Addr().String())
	a.serve("http", tcp, h)
	return nil
}

// token reads the bearer token. A listener that others can reach must have
// one.
func (a *App) token() (pipeline.Secret, error) {
	file := a.pipeline.HTTP.TokenFile
	if file == "" {
		if !loopback(a.pipeline.HTTP.Listen) {
			return "", fmt.Errorf("http.listen %s can be reached from other machines: set http.token_file, or listen on 127.0.0.1", a.pipeline.HTTP.Listen)
		}
		return "", nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read http.token_file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", fmt.Errorf("http.token_file %s is empty: put a token of your own into it", file)
	}
	return pipeline.Secret(token), nil
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// maxSocketPath is the system's limit (sun_path, less its end).
const maxSocketPath = 107

// listenSocket takes the socket over from a process that is gone, but not
// from one that answers.
func listenSocket(path string) (net.Listener, error) {
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("another waybill runs on the data folder %s: stop it, or give this one a `data:` of its own", filepath.Dir(path))
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("listen on socket %s: the path is longer than the %d bytes that a socket's may have: shorten `data:`", path, maxSocketPath)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("protect socket: %w", err), l.Close())
	}
	return l, nil
}

// hangUp is how long clients get to read their answers when the app stops.
const hangUp = 2 * time.Second

// serve serves h until the app stops.
func (a *App) serve(name string, l net.Listener, h http.Handler) {
	life, end := context.WithCancel(context.Background())
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		BaseContext:       func(net.Listener) context.Context { return life },
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	a.onStop(name, func(ctx context.Context) error {
		end() // streams end; what publishes gets an answer
		ctx, cancel := context.WithTimeout(ctx, hangUp)
		defer cancel()
		err := server.Shutdown(ctx)
		if err != nil { // a client that does not read is no fault of the stop
			err = server.Close()
		}
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	})
}
