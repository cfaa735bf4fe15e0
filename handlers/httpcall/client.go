package httpcall

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/waybill-dev/waybill/handlers/internal/files"
)

// newClient makes the client of one handler. It keeps connections for the
// handler's many goroutines, follows no redirect, and asks no environment for
// a proxy.
func newClient(dir string, c *Config) (*http.Client, error) {
	roots, err := files.Roots(dir, c.CAFile)
	if err != nil {
		return nil, err
	}
	proxy, err := parseProxy(c.Proxy)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: c.Timeout}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: c.Timeout,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     90 * time.Second,
	}
	if proxy != nil {
		transport.Proxy = http.ProxyURL(proxy)
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}
