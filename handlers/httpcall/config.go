package httpcall

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/waybill-dev/waybill/handlers/internal/view"
	"github.com/waybill-dev/waybill/handlers/once"
	"github.com/waybill-dev/waybill/pipeline"
)

// Values of `mode`.
const (
	ModeSimulated = "simulated" // log that a call would be made
	ModeHTTP      = "http"      // make it
)

// Config is what stands under `with:`.
type Config struct {
	Mode          string            `yaml:"mode" doc:"simulated only logs that a call would be made; http makes it." enum:"simulated|http"`
	SimulatedText string            `yaml:"simulated_text" doc:"What mode simulated logs."`
	Once          []string          `yaml:"once" doc:"JSON Pointers into the payload; the first that finds a text or a number is what one call is made for, as a rule the order's id. Empty, or where nothing is found, the message's id."`
	URL           string            `yaml:"url" doc:"Where to call, http or https, without user and password. Only for mode http, as all that follows."`
	URLRule       string            `yaml:"url_rule" doc:"Expression over payload and meta that gives the URL of one message. It must be on the same host as url."`
	Method        string            `yaml:"method" doc:"HTTP method. GET and HEAD send no body." enum:"POST|PUT|PATCH|DELETE|GET|HEAD"`
	Headers       map[string]string `yaml:"headers" doc:"Headers to send. They go before those that the message gives."`
	HeaderFiles   map[string]string `yaml:"header_files" doc:"Headers whose values are secret, each with the file that holds the value. One newline at its end does not count."`
	Timeout       time.Duration     `yaml:"timeout" doc:"How long one call may take, with the whole answer."`
	Status        map[string]Action `yaml:"status" doc:"What an answer's status means where it is not the default: ok, retry or dead. By status (404) or class (5xx)."`
	MaxResponse   int64             `yaml:"max_response" doc:"Bytes of an answer that are read. More of it is left unread, and is an error where the answer goes to an output." min:"1"`
	Proxy         pipeline.Secret   `yaml:"proxy" doc:"URL of a proxy. The environment's proxy variables are not looked at."`
	CAFile        string            `yaml:"ca_file" doc:"PEM file of the authorities to trust in place of the system's."`
}

// NewConfig returns the defaults.
func NewConfig() *Config {
	return &Config{
		Mode:          ModeSimulated,
		SimulatedText: "📦 Warehouse notified (simulated)",
		Method:        http.MethodPost,
		Timeout:       10 * time.Second,
		MaxResponse:   1 << 20,
	}
}

// Validate implements pipeline.Validator. That there is a URL only matters to
// mode http.
func (c *Config) Validate() []error {
	var f faults
	if c.Mode != ModeSimulated && c.Mode != ModeHTTP {
		f.add("/mode", fmt.Errorf("%q is not one of simulated, http", c.Mode))
	}
	if c.Mode == ModeHTTP || c.URL != "" {
		_, err := parseURL(c.URL)
		f.add("/url", err)
	}
	if c.URLRule != "" {
		_, err := view.Compile(c.URLRule)
		f.add("/url_rule", err)
	}
	if !slices.Contains([]string{"POST", "PUT", "PATCH", "DELETE", "GET", "HEAD"}, c.Method) {
		f.add("/method", fmt.Errorf("%q is not one of POST, PUT, PATCH, DELETE, GET, HEAD", c.Method))
	}
	if c.Timeout <= 0 {
		f.add("/timeout", errors.New("must be above 0"))
	}
	if c.MaxResponse <= 0 {
		f.add("/max_response", errors.New("must be above 0"))
	}
	f = append(f, once.Check(c.Once)...)
	_, err := parseProxy(c.Proxy)
	f.add("/proxy", err)
	c.checkHeaders(&f)
	c.checkStatus(&f)
	return f
}

func (c *Config) checkHeaders(f *faults) {
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		f.add("/headers/"+escape(name), checkHeader(name))
		if !httpguts.ValidHeaderFieldValue(c.Headers[name]) {
			f.add("/headers/"+escape(name), errors.New("a header has no line breaks"))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.HeaderFiles)) {
		f.add("/header_files/"+escape(name), checkHeader(name))
	}
}

// checkHeader refuses names that are none, and those that we set ourselves.
func checkHeader(name string) error {
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return fmt.Errorf("%q is not the name of a header", name)
	case slices.Contains([]string{"Host", "Content-Length", "Transfer-Encoding", "Connection", keyHeader}, http.CanonicalHeaderKey(name)):
		return fmt.Errorf("%s is set by Waybill", name)
	}
	return nil
}

func (c *Config) checkStatus(f *faults) {
	for _, status := range slices.Sorted(maps.Keys(c.Status)) {
		at := "/status/" + escape(status)
		if !isStatus(status) {
			f.add(at, fmt.Errorf("%q is neither a status, as 404, nor a class, as 4xx", status))
		}
		if action := c.Status[status]; action != OK && action != Retry && action != Dead {
			f.add(at, fmt.Errorf("%q is not one of ok, retry, dead", string(action)))
		}
	}
}

func isStatus(text string) bool {
	if class, found := strings.CutSuffix(text, "xx"); found {
		return len(class) == 1 && class >= "2" && class <= "5"
	}
	code, err := strconv.Atoi(text)
	return err == nil && code >= 200 && code <= 599
}

// parseURL takes an absolute http(s) URL. Its errors do not show the URL.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, errors.New("a URL with http:// or https:// and a host is needed")
	case u.User != nil:
		return nil, errors.New("user and password do not belong into the URL: put an Authorization header under header_files")
	}
	return u, nil
}

// parseProxy returns nil if there is none. A proxy's URL may hold a password.
func parseProxy(text pipeline.Secret) (*url.URL, error) {
	if text == "" {
		return nil, nil // no proxy is an answer
	}
	u, err := url.Parse(text.Reveal())
	if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5"}, u.Scheme) {
		return nil, errors.New("a URL with http://, https:// or socks5:// and a host is needed")
	}
	return u, nil
}

// faults collects what is wrong with a config.
type faults []error

func (f *faults) add(at string, err error) {
	if err != nil {
		*f = append(*f, &pipeline.FieldError{Pointer: at, Err: err})
	}
}

// escape makes one token of a JSON Pointer.
func escape(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
