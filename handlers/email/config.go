package email

import (
	"cmp"
	"errors"
	"fmt"
	"net/mail"
	"time"

	"github.com/waybill-dev/waybill/handlers/internal/view"
	"github.com/waybill-dev/waybill/handlers/once"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/pointer"
)

// Values of `mode`.
const (
	ModeSimulated = "simulated" // log that a mail would go out
	ModeSMTP      = "smtp"      // send it
)

// Values of `tls`.
const (
	TLSStart = "starttls" // begin in the clear, refuse to go on without STARTTLS
	TLSFirst = "tls"      // TLS from the first byte, as on port 465
	TLSNone  = "none"     // no TLS; a password then only goes out by a method that does not show it
)

// Values of `on_unknown`.
const (
	UnknownSend       = "send"        // send the mail again, with the same Message-ID
	UnknownDeadLetter = "dead_letter" // let a person look first
)

// Config is what stands under `with:`.
type Config struct {
	Mode    string    `yaml:"mode" doc:"simulated only logs that a mail would go out; smtp sends it." enum:"simulated|smtp"`
	Once    []string  `yaml:"once" doc:"JSON Pointers into the payload; the first that finds a text or a number is what one mail is sent for, as a rule the order's id. Empty, or where nothing is found, the message's id."`
	Unknown string    `yaml:"on_unknown" doc:"When Waybill ended while a mail was being sent, and nobody knows whether it was: send sends it (again) with the same Message-ID, dead_letter makes a dead letter of the message." enum:"send|dead_letter"`
	Server  Server    `yaml:"server" doc:"The mail server that takes our mails. Only for mode smtp, as all that follows."`
	From    string    `yaml:"from" doc:"Sender, with a name or without: The Shop <orders@example.com>."`
	To      Recipient `yaml:"to" doc:"Where the recipient's address comes from: one of address, pointers and rule."`
	Subject string    `yaml:"subject" doc:"Go text template of the subject. Templates see .Order, .Payload, .Meta and .ID."`
	Text    string    `yaml:"text" doc:"Go text template of the mail as plain text."`
	HTML    string    `yaml:"html" doc:"Go HTML template of the mail as HTML, sent beside the plain text. Empty for none."`
}

// Server is a mail server and how to log in to it.
type Server struct {
	Host         string        `yaml:"host" doc:"Its name or address."`
	Port         int           `yaml:"port" doc:"Its port; 0 takes 587 for starttls, 465 for tls, 25 for none." min:"0" max:"65535"`
	TLS          string        `yaml:"tls" doc:"starttls (refused if the server has none), tls (from the first byte), none." enum:"starttls|tls|none"`
	CAFile       string        `yaml:"ca_file" doc:"PEM file of the authorities to trust in place of the system's."`
	User         string        `yaml:"user" doc:"Who logs in; empty for no login."`
	PasswordFile string        `yaml:"password_file" doc:"File with the password. One newline at its end does not count."`
	Timeout      time.Duration `yaml:"timeout" doc:"How long one mail may take, from dialling to the server's answer."`
}

// Recipient says where the address comes from. Exactly one is to be set.
type Recipient struct {
	Address  string   `yaml:"address" doc:"The same address for every message."`
	Pointers []string `yaml:"pointers" doc:"JSON Pointers into the payload; the first that is there holds the address."`
	Rule     string   `yaml:"rule" doc:"Expression over payload and meta that gives the address."`
}

// NewConfig returns the defaults.
func NewConfig() *Config {
	return &Config{
		Mode:    ModeSimulated,
		Unknown: UnknownSend,
		Server:  Server{TLS: TLSStart, Timeout: 20 * time.Second},
		Subject: "Your order {{.Order.ID}}",
		Text: "Thank you for your order {{.Order.ID}}.\n\n" +
			"{{range .Order.Items}}  {{.Quantity}} x {{.Label}}\n{{end}}",
	}
}

// Validate implements pipeline.Validator. What only matters to SMTP is not
// looked at while the kind is simulated, but templates, rules and pointers
// always are.
func (c *Config) Validate() []error {
	var f faults
	if c.Mode != ModeSimulated && c.Mode != ModeSMTP {
		f.add("/mode", fmt.Errorf("%q is not one of simulated, smtp", c.Mode))
	}
	f.join(once.Check(c.Once)...)
	if c.Unknown != UnknownSend && c.Unknown != UnknownDeadLetter {
		f.add("/on_unknown", fmt.Errorf("%q is not one of send, dead_letter", c.Unknown))
	}
	_, err := newTemplates(c)
	f.join(err)
	f.join(c.To.validate()...)
	if c.Mode == ModeSMTP {
		f.join(c.Server.validate()...)
		if _, err := mail.ParseAddress(c.From); err != nil {
			f.add("/from", fmt.Errorf("%q is not a mail address", c.From))
		}
		if c.To.count() != 1 {
			f.add("/to", errors.New("one of address, pointers and rule is needed"))
		}
	}
	return f
}

func (s Server) validate() (f faults) {
	if s.Host == "" {
		f.add("/server/host", errors.New("is needed for mode smtp"))
	}
	if s.Port < 0 || s.Port > 65535 {
		f.add("/server/port", fmt.Errorf("%d is not a port", s.Port))
	}
	if s.TLS != TLSStart && s.TLS != TLSFirst && s.TLS != TLSNone {
		f.add("/server/tls", fmt.Errorf("%q is not one of starttls, tls, none", s.TLS))
	}
	if (s.User == "") != (s.PasswordFile == "") {
		f.add("/server/user", errors.New("user and password_file belong together"))
	}
	if s.Timeout <= 0 {
		f.add("/server/timeout", errors.New("must be above 0"))
	}
	return f
}

// port returns the port to dial.
func (s Server) port() int {
	return cmp.Or(s.Port, map[string]int{TLSStart: 587, TLSFirst: 465, TLSNone: 25}[s.TLS])
}

func (r Recipient) validate() (f faults) {
	if r.Address != "" {
		if _, err := mail.ParseAddress(r.Address); err != nil {
			f.add("/to/address", fmt.Errorf("%q is not a mail address", r.Address))
		}
	}
	for i, path := range r.Pointers {
		if err := pointer.Check(path); err != nil {
			f.add(fmt.Sprintf("/to/pointers/%d", i), err)
		}
	}
	if r.Rule != "" {
		if _, err := view.Compile(r.Rule); err != nil {
			f.add("/to/rule", err)
		}
	}
	return f
}

// count says how many of the ways are set.
func (r Recipient) count() (n int) {
	for _, set := range []bool{r.Address != "", len(r.Pointers) > 0, r.Rule != ""} {
		if set {
			n++
		}
	}
	return n
}

// faults collects what is wrong with a config.
type faults []error

func (f *faults) add(at string, err error) {
	*f = append(*f, &pipeline.FieldError{Pointer: at, Err: err})
}

func (f *faults) join(errs ...error) {
	for _, err := range errs {
		if err != nil {
			*f = append(*f, err)
		}
	}
}
