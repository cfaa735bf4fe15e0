package routerconfig

import (
	"strings"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

// config is a whole file. The structs of the grammar live in this file and in
// that of their block: broker.go, topic.go, handler.go. Each has its defaults
// in SetDefaults, those that hang on other keys in its check.
type config struct {
	Instance        string                    `yaml:"instance" doc:"This process among others that run the same file: the static member id on Kafka. Letters, digits, '.', '_' and '-'." default:"an id kept in the data folder"`
	Data            string                    `yaml:"data" doc:"The folder for what Waybill keeps: SQLite files, socket, slots. A relative path starts in the working directory of the process."`
	ShutdownTimeout time.Duration             `yaml:"shutdown_timeout" doc:"How long a stop waits for messages that are being handled. What is not finished by then goes back to its broker."`
	HTTP            httpConfig                `yaml:"http" doc:"The listener of the API, the page, health and metrics."`
	Store           storeConfig               `yaml:"store" doc:"Where dead letters, receipts and delayed messages live."`
	MessageLog      messageLogConfig          `yaml:"message_log" doc:"What the log of messages holds: what happened to each message in each handler."`
	Brokers         map[string]*brokerConfig  `yaml:"brokers" doc:"The brokers by name." default:"(required)"`
	Topics          map[string]*topicConfig   `yaml:"topics,omitempty" doc:"The topics by name: every one that a handler reads or writes."`
	Handlers        map[string]*handlerConfig `yaml:"handlers,omitempty" doc:"The handlers by name: each reads one topic, runs a kind on every message and writes what comes out."`
	Tests           refused                   `yaml:"tests,omitempty" doc:"Messages in, messages out, checked by waybill test." later:"tests in a config come with a later release"`
}

// refused is the type of a key that only a later release understands.
type refused struct{}

// SetDefaults sets what holds where the file is silent.
func (c *config) SetDefaults() {
	c.Data = "data"
	c.ShutdownTimeout = 20 * time.Second
	c.HTTP.Listen = "127.0.0.1:8080"
	c.Store.URL = "sqlite:waybill.db"
	c.Store.Receipts = age(30 * 24 * time.Hour)
	c.MessageLog.SetDefaults()
}

type httpConfig struct {
	Listen    string `yaml:"listen" doc:"Address and port. Port 0 takes a free one; off listens on no port, only on the socket in the data folder. Anything but loopback needs token_file."`
	TokenFile string `yaml:"token_file,omitempty" doc:"File with the token that callers send as 'Authorization: Bearer TOKEN'. A relative path starts in the config file's folder."`
}

type storeConfig struct {
	URL      serverURL `yaml:"url" doc:"sqlite:FILE, which starts in the data folder, or postgres://USER@HOST/DATABASE for several instances."`
	Receipts age       `yaml:"receipts" type:"duration, forever" doc:"How long it is remembered that an effect was done. A repeat that comes later has its effect again. Longer than any replay or redelivery may take."`
}

type retentionConfig struct {
	Age   age   `yaml:"age" type:"duration, forever" doc:"Older messages go. 0: the default; forever: none for its age." default:"the block's"`
	Bytes limit `yaml:"bytes" type:"size, unlimited" doc:"The oldest go when there is more than this. 0: the default; unlimited: none for lack of room." default:"the block's"`
}

func (r retentionConfig) retention() pipeline.Retention {
	return pipeline.Retention{Age: time.Duration(r.Age), Bytes: int64(r.Bytes)}
}

// checker holds a decoded config to the rules that no single key can tell, and
// fills in the defaults that hang on other keys.
type checker struct {
	*report
	*config

	kinds pipeline.Kinds
}

// check looks at everything; the order is that of the file's grammar.
func (c *checker) check() {
	if c.Instance != "" {
		c.checkName("/instance", c.Instance)
	}
	if c.Data == "" {
		c.errorf("/data", "name a folder, or leave the key out for \"data\"", "it is empty")
	}
	c.HTTP.check(c)
	c.Store.check(c)
	c.MessageLog.check(c)
	c.checkBrokers()
	c.checkTopics()
	c.checkHandlers()
}

// check keeps the API from being open to a network without a token.
func (h *httpConfig) check(c *checker) {
	const p = pointer("/http/listen")
	if h.Listen == "off" {
		return
	}
	host, err := splitAddress(h.Listen, 0)
	switch {
	case err != nil:
		c.errorf(p, `write for example 127.0.0.1:8080, or "off"`, "%v", err)
	case !isLoopback(host) && h.TokenFile == "" && !c.blames("/http/token_file"):
		c.errorf(p, "set http.token_file, or listen on 127.0.0.1", "run refuses to start without http.token_file beyond loopback")
	}
}

// store is the checked block as the pipeline has it.
func (s *storeConfig) store(data string) pipeline.Store {
	if path, ok := strings.CutPrefix(string(s.URL), "sqlite:"); ok {
		return pipeline.Store{File: resolvePath(data, path), Receipts: time.Duration(s.Receipts)}
	}
	return pipeline.Store{URL: pipeline.Secret(s.URL), Receipts: time.Duration(s.Receipts)}
}

func (s *storeConfig) check(c *checker) {
	if s.Receipts == 0 {
		c.errorf("/store/receipts", "write a duration, or forever", "at 0 no effect would be remembered")
	}
	for _, scheme := range []string{"sqlite:", "postgres://", "postgresql://"} {
		if rest, ok := strings.CutPrefix(string(s.URL), scheme); ok && rest != "" {
			return
		}
	}
	c.errorf("/store/url", "write sqlite:FILE or postgres://USER@HOST/DATABASE", "this is no store")
}
