package email

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/mail"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
	gomail "github.com/wneessen/go-mail"

	"github.com/waybill-dev/waybill/handlers/once"
	"github.com/waybill-dev/waybill/pipeline"
)

// Kind returns the kind send_email.
func Kind() pipeline.Kind {
	return pipeline.Kind{
		Name: "send_email",
		Doc: "Sends a mail about an order over SMTP, or, by default, only logs that it would. " +
			"For one message, or one order with `once`, it sends one mail; where a crash makes that uncertain, the repeat carries the same Message-ID.",
		Effect:    true,
		Once:      onceOf,
		NewConfig: func() any { return NewConfig() },
		New:       newHandler,
	}
}

// onceOf says nothing of simulated mails: they must not keep real ones from
// being sent later.
func onceOf(config any) *pipeline.Once {
	c := config.(*Config)
	if c.Mode != ModeSMTP {
		return nil
	}
	o := &pipeline.Once{Subject: func(msg *message.Message) string { return once.Subject(msg, c.Once) }}
	if c.Unknown == UnknownDeadLetter {
		o.Doubt = doubt
	}
	return o
}

// doubt is the error for a mail of which nobody knows whether it was sent.
func doubt(*message.Message) error {
	return pipeline.Permanent(pipeline.WithReason(errors.New("an earlier run ended while this mail was being sent: look into the mail server's log "+
		"whether it went out; if not, replay this message, else archive it"), pipeline.ReasonCrash))
}

func newHandler(env pipeline.Env, config any) (message.HandlerFunc, error) {
	c := config.(*Config)
	if c.Mode != ModeSMTP {
		return simulated(env), nil
	}
	return newMailer(env, c)
}

// simulated is the handler that sends nothing.
func simulated(env pipeline.Env) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		env.Log.InfoContext(msg.Context(), "📧 Confirmation email sent (simulated)")
		return nil, nil
	}
}

// mailer is one handler that sends.
type mailer struct {
	env       pipeline.Env
	once      []string
	from      *mail.Address
	to        *recipient
	templates *templates
	server    *server
}

func newMailer(env pipeline.Env, c *Config) (message.HandlerFunc, error) {
	m := &mailer{env: env, once: c.Once}
	var err error
	if m.from, err = mail.ParseAddress(c.From); err != nil {
		return nil, err
	}
	if m.to, err = newRecipient(c.To); err != nil {
		return nil, err
	}
	if m.templates, err = newTemplates(c); err != nil {
		return nil, err
	}
	if m.server, err = newServer(env.Dir, c.Server); err != nil {
		return nil, err
	}
	return m.handle, nil
}

func (m *mailer) handle(msg *message.Message) ([]*message.Message, error) {
	letter, err := m.compose(msg)
	if err != nil {
		return nil, err
	}
	if err := m.server.send(msg.Context(), letter); err != nil {
		return nil, err
	}
	pipeline.OutcomeOf(msg.Context()).Answer = letter.ServerResponse()
	m.env.Log.InfoContext(msg.Context(), "📧 Confirmation email sent", "mail", letter.GetMessageID())
	return nil, nil
}

// compose makes the mail for a message: the same for the same message, but
// for its date.
func (m *mailer) compose(msg *message.Message) (*gomail.Msg, error) {
	data, err := newData(msg)
	if err != nil {
		return nil, err
	}
	to, err := m.to.address(msg)
	if err != nil {
		return nil, err
	}
	letter := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	letter.FromMailAddress(m.from)
	letter.ToMailAddress(to)
	if subject := once.Subject(msg, m.once); subject != "" {
		letter.SetMessageIDWithValue(m.messageID(subject))
	} else {
		letter.SetMessageID() // equal orders must not become one mail
	}
	letter.SetGenHeader("Auto-Submitted", "auto-generated")
	return letter, m.fill(letter, data)
}

func (m *mailer) fill(letter *gomail.Msg, data *Data) error {
	subject, err := headerText(m.templates.subject, data)
	if err != nil {
		return err
	}
	text, err := render(m.templates.text, data)
	if err != nil {
		return err
	}
	letter.Subject(subject)
	letter.SetBodyString(gomail.TypeTextPlain, text)
	if m.templates.html == nil {
		return nil
	}
	html, err := render(m.templates.html, data)
	if err != nil {
		return err
	}
	letter.AddAlternativeString(gomail.TypeTextHTML, html)
	return nil
}

// messageID is a function of the subject and the handler's name alone. The
// subject is hashed, since a foreign one may hold what a header must not.
func (m *mailer) messageID(subject string) string {
	sum := sha256.Sum256([]byte(subject + "\x00" + m.env.Handler))
	_, domain, _ := strings.Cut(m.from.Address, "@")
	return hex.EncodeToString(sum[:16]) + "@" + domain
}
