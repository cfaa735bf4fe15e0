package routerconfig

import (
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/waybill-dev/waybill/pipeline"
)

// brokerConfig is one entry of `brokers:`.
type brokerConfig struct {
	Driver        string          `yaml:"driver" enum:"embedded|rabbitmq|kafka" doc:"Which broker it is." default:"(required)"`
	URL           serverURL       `yaml:"url,omitempty" doc:"rabbitmq: amqp://USER:PASSWORD@HOST:PORT/VHOST, amqps:// for TLS. kafka: HOST:PORT,HOST:PORT. Characters such as @ and % in a user or password are percent-encoded here; the keys host to vhost take them as they are."`
	Host          string          `yaml:"host,omitempty" doc:"rabbitmq, in place of url: the server's name or address. Needs user and password."`
	Port          int             `yaml:"port,omitempty" min:"1" max:"65535" doc:"rabbitmq with host: the port." default:"5672, with TLS 5671"`
	User          string          `yaml:"user,omitempty" doc:"rabbitmq with host: the user."`
	Password      pipeline.Secret `yaml:"password,omitempty" doc:"rabbitmq with host: the user's password, as it is."`
	VHost         string          `yaml:"vhost,omitempty" doc:"rabbitmq with host: the virtual host." default:"/"`
	Path          string          `yaml:"path,omitempty" doc:"embedded: the SQLite file. A relative path starts in the data folder." default:"waybill.db"`
	ManagementURL serverURL       `yaml:"management_url,omitempty" doc:"rabbitmq: its HTTP API, for what AMQP does not tell: http://USER:PASSWORD@HOST:15672/."`
	GroupPrefix   string          `yaml:"group_prefix,omitempty" doc:"Put before the name of every subscription: PREFIXtopic.handler."`
	TLS           tlsConfig       `yaml:"tls,omitempty" doc:"rabbitmq and kafka: the connection's encryption."`
	SASL          saslConfig      `yaml:"sasl,omitempty" doc:"kafka, and rabbitmq with a url that has no user: how to log in."`
}

type tlsConfig struct {
	Enabled    bool   `yaml:"enabled" doc:"Whether to use TLS. With a RabbitMQ url its scheme decides."`
	CAFile     string `yaml:"ca_file,omitempty" doc:"Certificates (PEM) of who may sign the server's, in place of the system's. A relative path starts in the config file's folder, here and below."`
	CertFile   string `yaml:"cert_file,omitempty" doc:"Our certificate (PEM), where the server asks for one. Needs key_file."`
	KeyFile    string `yaml:"key_file,omitempty" doc:"Our certificate's key (PEM)."`
	ServerName string `yaml:"server_name,omitempty" doc:"The name that the server's certificate has, where it is not the host's."`
	SkipVerify bool   `yaml:"skip_verify,omitempty" doc:"Take any certificate: anybody can then pose as the broker. Only for tests."`
}

type saslConfig struct {
	Mechanism string          `yaml:"mechanism,omitempty" enum:"PLAIN|SCRAM-SHA-256|SCRAM-SHA-512" doc:"kafka: how the password is shown to the server."`
	User      string          `yaml:"user,omitempty" doc:"The user."`
	Password  pipeline.Secret `yaml:"password,omitempty" doc:"The user's password."`
}

// separateKeys are those that stand in place of a RabbitMQ url.
var separateKeys = []string{"host", "port", "user", "password", "password_file", "vhost"}

// driverKeys are the keys that mean something to each driver, without the
// twins for secrets' files.
var driverKeys = map[string][]string{
	pipeline.DriverEmbedded: {"driver", "path", "group_prefix"},
	pipeline.DriverRabbitMQ: {"driver", "url", "host", "port", "user", "password", "vhost", "management_url", "group_prefix", "tls", "sasl"},
	pipeline.DriverKafka:    {"driver", "url", "group_prefix", "tls", "sasl"},
}

func (c *checker) checkBrokers() {
	if len(c.Brokers) == 0 {
		c.errorf("/brokers", "add brokers: {main: {driver: embedded}}", "there is no broker")
	}
	files := map[string]string{}
	for _, name := range sorted(c.Brokers) {
		p, b := pointer("/brokers").key(name), c.Brokers[name]
		c.checkName(p, name)
		b.check(c, p)
		if b.Driver != pipeline.DriverEmbedded {
			continue
		}
		if other, taken := files[filepath.Clean(b.Path)]; taken {
			c.errorf(p.key("path"), "give one of them a path of its own", "the broker %s has the same file", other)
		}
		files[filepath.Clean(b.Path)] = name
	}
}

func (b *brokerConfig) check(c *checker, p pointer) {
	if b.Driver == "" {
		c.errorf(p.key("driver"), "one of: embedded, rabbitmq, kafka", "it is missing")
	}
	if c.blames(p.key("driver")) {
		return
	}
	b.checkKeys(c, p)
	if b.GroupPrefix != "" {
		c.checkName(p.key("group_prefix"), b.GroupPrefix)
	}
	b.TLS.check(c, p.key("tls"))
	switch b.Driver {
	case pipeline.DriverEmbedded:
		if b.Path == "" {
			b.Path = "waybill.db"
		}
	case pipeline.DriverRabbitMQ:
		b.checkRabbit(c, p)
	case pipeline.DriverKafka:
		b.checkKafka(c, p)
	}
}

// checkKeys refuses keys of other drivers.
func (b *brokerConfig) checkKeys(c *checker, p pointer) {
	n, _ := c.root.walk(p)
	for _, e := range n.entries {
		key := strings.TrimSuffix(e.key, secretFileSuffix)
		if !slices.Contains(driverKeys[b.Driver], key) {
			c.errorf(p.key(e.key), "remove it", "this key is not for driver %s", b.Driver)
		}
	}
}

func (t *tlsConfig) check(c *checker, p pointer) {
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		c.errorf(p.key("key_file"), "set it to the certificate's key", "cert_file needs key_file")
	case t.KeyFile != "" && t.CertFile == "":
		c.errorf(p.key("cert_file"), "set it to the key's certificate", "key_file needs cert_file")
	}
}

// checkRabbit wants either url or the separate keys.
func (b *brokerConfig) checkRabbit(c *checker, p pointer) {
	separate := c.givenOf(p, separateKeys)
	switch {
	case b.URL != "" && separate != "":
		c.errorf(p.key("url"), "keep one of the two", "url and %s are both given", separate)
	case separate != "":
		b.checkSeparate(c, p)
	case b.URL == "":
		c.errorf(p.key("url"), "give url, or host, user and password", "it is missing")
	default:
		b.checkRabbitURL(c, p)
	}
	if b.ManagementURL != "" {
		c.checkURL(p.key("management_url"), b.ManagementURL, "write http://USER:PASSWORD@HOST:15672/", "http", "https")
	}
}

func (b *brokerConfig) checkRabbitURL(c *checker, p pointer) {
	u := c.checkURL(p.key("url"), b.URL, "write amqp://USER:PASSWORD@HOST:5672/VHOST", "amqp", "amqps")
	switch {
	case u == nil:
	case u.Scheme == "amqps":
		b.TLS.Enabled = true
	case b.TLS.Enabled:
		c.errorf(p.key("url"), "write amqps://", "tls is enabled, and the url says amqp://")
	}
	switch {
	case b.SASL == (saslConfig{}):
	case u != nil && u.User != nil:
		c.errorf(p.key("sasl"), "keep one of the two", "the url names a user too")
	default:
		c.require(p.key("sasl").key("user"), b.SASL.User)
		c.require(p.key("sasl").key("password"), b.SASL.Password.Reveal())
	}
}

func (b *brokerConfig) checkSeparate(c *checker, p pointer) {
	c.require(p.key("host"), b.Host)
	c.require(p.key("user"), b.User)
	c.require(p.key("password"), b.Password.Reveal())
	if c.given(p.key("vhost")) {
		c.require(p.key("vhost"), b.VHost)
	}
	if b.SASL != (saslConfig{}) {
		c.errorf(p.key("sasl"), "remove sasl", "host comes with user and password beside it")
	}
	if _, err := netip.ParseAddr(b.Host); err != nil && strings.ContainsAny(b.Host, ":/@?# ") {
		c.errorf(p.key("host"), "write rabbit.example, and the port under port", "it is not a name or address alone")
	}
	if b.Port == 0 {
		b.Port = map[bool]int{false: 5672, true: 5671}[b.TLS.Enabled]
	}
	if b.VHost == "" {
		b.VHost = "/"
	}
}

func (b *brokerConfig) checkKafka(c *checker, p pointer) {
	c.require(p.key("url"), string(b.URL))
	for address := range strings.SplitSeq(string(b.URL), ",") {
		if host, err := splitAddress(strings.TrimSpace(address), 1); err != nil || host == "" {
			c.errorf(p.key("url"), "write HOST:PORT, or several with commas between", "not every address has a host and a port from 1 to 65535")
		}
	}
	if b.SASL == (saslConfig{}) {
		return
	}
	c.require(p.key("sasl").key("mechanism"), b.SASL.Mechanism)
	c.require(p.key("sasl").key("user"), b.SASL.User)
	c.require(p.key("sasl").key("password"), b.SASL.Password.Reveal())
}

// broker is the checked config as the pipeline has it.
func (b *brokerConfig) broker(name, data, dir string) pipeline.Broker {
	return pipeline.Broker{
		Name:          name,
		Driver:        b.Driver,
		URL:           b.address(),
		Path:          resolvePath(data, b.Path),
		ManagementURL: pipeline.Secret(b.ManagementURL),
		GroupPrefix:   b.GroupPrefix,
		TLS: pipeline.TLS{
			Enabled:    b.TLS.Enabled,
			CAFile:     resolvePath(dir, b.TLS.CAFile),
			CertFile:   resolvePath(dir, b.TLS.CertFile),
			KeyFile:    resolvePath(dir, b.TLS.KeyFile),
			ServerName: b.TLS.ServerName,
			SkipVerify: b.TLS.SkipVerify,
		},
		SASL: pipeline.SASL{Mechanism: b.SASL.Mechanism, User: b.SASL.User, Password: b.SASL.Password},
	}
}

// address is the url, for RabbitMQ made of the separate keys where they are
// given: whatever characters they hold are encoded.
func (b *brokerConfig) address() pipeline.Secret {
	if b.Driver == pipeline.DriverKafka {
		return pipeline.Secret(strings.ReplaceAll(string(b.URL), " ", ""))
	}
	if b.Host == "" {
		return pipeline.Secret(b.URL)
	}
	u := url.URL{
		Scheme:  map[bool]string{false: "amqp", true: "amqps"}[b.TLS.Enabled],
		User:    url.UserPassword(b.User, b.Password.Reveal()),
		Host:    net.JoinHostPort(b.Host, strconv.Itoa(b.Port)),
		Path:    "/" + b.VHost,
		RawPath: "/" + url.PathEscape(b.VHost),
	}
	return pipeline.Secret(u.String())
}

// sorted lists the names in a map of the config.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
