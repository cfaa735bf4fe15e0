package email_test

import (
	"context"
	"fmt"
	"mime"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/handlers/email"
	"github.com/waybill-dev/waybill/handlers/handlertest"
	"github.com/waybill-dev/waybill/pipeline"
)

const (
	order = `{"orderId":"ORD-1","userId":"u-1","email":"Ann Ä <ann@customer.example>",` +
		`"items":[{"sku":"A","name":"Cup <b>&","price":1250.50,"quantity":2}],"total":2501.00,"note":{"gift":true,"weight":1.50}}`
	toEmail = "to: {pointers: [/customer/email, /email]}\n"
)

func TestSimulated(t *testing.T) {
	t.Parallel()

	t.Run("2-07 by default the mail is simulated", func(t *testing.T) {
		t.Parallel()
		h := handlertest.Start(t, email.Kind(), handlertest.Params{})
		outs, err := h.Handle(handlertest.Message(order))
		require.NoError(t, err)
		require.Empty(t, outs)
		require.Equal(t, []string{"📧 Confirmation email sent (simulated)"}, h.Log())
	})
	t.Run("2-26 simulated mode talks to no server", func(t *testing.T) {
		t.Parallel()
		p := new(post).start(t)
		with := strings.Replace(p.with("starttls", toEmail), "mode: smtp", "mode: simulated", 1)
		h := handlertest.Start(t, email.Kind(), handlertest.Params{With: with, Dir: p.dir})
		_, err := h.Handle(handlertest.Message(order))
		require.NoError(t, err)
		require.Empty(t, p.received())
	})
}

func TestSMTP(t *testing.T) {
	t.Parallel()

	for _, mode := range []string{"starttls", "tls"} {
		t.Run("2-26 a mail goes out over "+mode+", logged in", func(t *testing.T) {
			t.Parallel()
			p := (&post{implicit: mode == "tls"}).start(t)
			h := start(t, p, p.with(mode, toEmail))
			send(t, h, order)

			require.Len(t, p.received(), 1)
			got := p.received()[0]
			require.True(t, got.secure)
			require.Equal(t, user, got.login)
			require.Equal(t, "orders@shop.example", got.from)
			require.Equal(t, "ann@customer.example", got.to)
			header, body := got.parse(t)
			require.Equal(t, "Your order ORD-1", header.Get("Subject"))
			require.Equal(t, "auto-generated", header.Get("Auto-Submitted"))
			require.Contains(t, body, "2 x Cup <b>&")
			require.Equal(t, []string{"📧 Confirmation email sent"}, h.Log())
			require.NotContains(t, h.LogText(), password)
		})
	}
	t.Run("without login and without TLS, where the config says so", func(t *testing.T) {
		t.Parallel()
		p := (&post{insecure: true}).start(t)
		with := fmt.Sprintf("mode: smtp\nserver: {host: 127.0.0.1, port: %d, tls: none}\nfrom: a@shop.example\n", p.port)
		send(t, start(t, p, with+toEmail), order)
		require.False(t, p.received()[0].secure)
	})
	t.Run("templates see order, payload, metadata and id", func(t *testing.T) {
		t.Parallel()
		p := new(post).start(t)
		h := start(t, p, p.with("starttls", toEmail+
			"subject: 'Order {{.Order.ID}} für {{.Meta.tenant}}'\n"+
			"text: 'Total ₹{{.Order.Total.Money}}, weight {{.Payload.note.weight}}, message {{.ID}}'\n"+
			"html: '<p>{{range .Order.Items}}{{.Name}}{{end}}</p>'\n"))
		_, err := h.Handle(handlertest.Message(order, "tenant", "Süd"))
		require.NoError(t, err)

		header, body := p.received()[0].parse(t)
		subject, err := new(mime.WordDecoder).DecodeHeader(header.Get("Subject"))
		require.NoError(t, err)
		require.Equal(t, "Order ORD-1 für Süd", subject)
		require.Contains(t, header.Get("Content-Type"), "multipart/alternative")
		require.Contains(t, body, "2501.00, weight 1.50, message msg-1")
		require.Contains(t, body, "<p>Cup &lt;b&gt;&amp;</p>", "HTML is escaped")
	})
	t.Run("many at once", func(t *testing.T) {
		t.Parallel()
		p := new(post).start(t)
		h := start(t, p, p.with("starttls", toEmail))
		var senders errgroup.Group
		for range 8 {
			senders.Go(func() error {
				_, err := h.Handle(handlertest.Message(order))
				return err
			})
		}
		require.NoError(t, senders.Wait())
		require.Len(t, p.received(), 8)
	})
}

func TestOnce(t *testing.T) {
	t.Parallel()
	p := new(post).start(t)

	t.Run("2-41 with once the Message-ID is the order's, in whatever message it comes", func(t *testing.T) {
		t.Parallel()
		h := start(t, p, p.with("starttls", toEmail+"once: [/orderId]\n"))
		other := handlertest.Message(order, pipeline.MetaIDSource, pipeline.IDSourceContent)
		other.UUID = "msg-2"
		send(t, h, order)
		_, err := h.Handle(other)
		require.NoError(t, err)
		first, _ := p.received()[0].parse(t)
		second, _ := p.received()[1].parse(t)
		require.Equal(t, first.Get("Message-Id"), second.Get("Message-Id"))
	})
	t.Run("wrong values are refused", func(t *testing.T) {
		t.Parallel()
		_, err := handlertest.New(t, email.Kind(), handlertest.Params{With: "once: [orderId]\non_unknown: hope"})
		require.ErrorContains(t, err, "/once/0")
		require.ErrorContains(t, err, "send, dead_letter")
	})
	t.Run("simulated mails leave no receipt, which would keep real ones from being sent", func(t *testing.T) {
		t.Parallel()
		config := email.NewConfig()
		require.Nil(t, email.Kind().Once(config))
		config.Mode = email.ModeSMTP
		require.Nil(t, email.Kind().Once(config).Doubt, "by default a mail in doubt is sent again")
	})
}

func TestMessageID(t *testing.T) {
	t.Parallel()
	p := new(post).start(t)
	with := p.with("starttls", toEmail)
	first, second := start(t, p, with), handlertest.Start(t, email.Kind(), handlertest.Params{With: with, Dir: p.dir, Name: "other"})
	other := handlertest.Message(order)
	other.UUID = "msg-2\r\nBcc: eve@evil.example"

	send(t, first, order)
	send(t, first, order)
	_, err := first.Handle(other)
	require.NoError(t, err)
	send(t, second, order)
	anonymous := handlertest.Message(order)
	anonymous.Metadata.Set(pipeline.MetaIDSource, pipeline.IDSourceContent)
	for range 2 {
		_, err = first.Handle(anonymous)
		require.NoError(t, err)
	}

	var ids []string
	for _, l := range p.received() {
		header, _ := l.parse(t)
		require.Empty(t, header.Get("Bcc"))
		ids = append(ids, header.Get("Message-ID"))
	}
	require.Regexp(t, `^<[0-9a-f]{32}@shop\.example>$`, ids[0])
	require.Equal(t, ids[0], ids[1], "a repeat is recognisable")
	require.NotEqual(t, ids[0], ids[2], "another message")
	require.NotEqual(t, ids[0], ids[3], "another handler")
	require.NotEqual(t, ids[4], ids[5], "equal messages without ids of their own are two")
}

func TestRecipient(t *testing.T) {
	t.Parallel()
	p := new(post).start(t)
	for name, tc := range map[string]struct{ to, payload, want string }{
		"the first pointer that is there": {"to: {pointers: [/a, /b]}", `{"b":"b@x.example","a":null}`, "b@x.example"},
		"a rule":                          {"to: {rule: 'meta.who + \"@\" + lower(payload.domain)'}", `{"domain":"X.example"}`, "ann@x.example"},
		"a fixed address":                 {"to: {address: desk@x.example}", `{}`, "desk@x.example"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, p, p.with("starttls", tc.to))
			_, err := h.Handle(handlertest.Message(tc.payload, "who", "ann"))
			require.NoError(t, err)
			var all []string
			for _, l := range p.received() {
				all = append(all, l.to)
			}
			require.Contains(t, all, tc.want)
		})
	}
}

func TestInvalid(t *testing.T) {
	t.Parallel()
	p := new(post).start(t)
	for name, tc := range map[string]struct{ more, payload string }{
		"no order":                    {toEmail, `[]`},
		"no recipient":                {toEmail, `{"id":"1"}`},
		"a recipient that is none":    {toEmail, `{"email":"ann at customer"}`},
		"two recipients in one":       {toEmail, `{"email":"ann@x.example, eve@evil.example"}`},
		"a line break in the address": {toEmail, `{"email":"ann@x.example\r\nBcc: eve@evil.example"}`},
		"a line break in the name":    {toEmail, `{"email":"\"a\nBcc: eve@evil.example\" <ann@x.example>"}`},
		"a line break in the subject": {toEmail, `{"id":"1\r\nBcc: eve@evil.example","email":"ann@x.example"}`},
		"a bare CR in the subject":    {toEmail, `{"id":"1\rBcc: eve@evil.example","email":"ann@x.example"}`},
		"a rule that gives no text":   {"to: {rule: 'payload.n'}", `{"n":1}`},
		"a rule that fails":           {"to: {rule: 'payload.n + 1'}", `{"n":"x"}`},
		"a member that is not there":  {toEmail + "text: '{{.Payload.missing}}'", `{"email":"ann@x.example"}`},
		"metadata that is not there":  {toEmail + "text: '{{.Meta.missing}}'", `{"email":"ann@x.example"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := start(t, p, p.with("starttls", tc.more)).Handle(handlertest.Message(tc.payload))
			require.True(t, pipeline.IsPermanent(err), "%v", err)
			require.Equal(t, pipeline.ReasonInvalid, pipeline.ReasonOf(err))
			require.Empty(t, p.received(), "none of them goes out")
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		command   string
		code      int
		reason    pipeline.Reason
		permanent bool
	}{
		{"mail", 550, pipeline.ReasonRejected, true},
		{"rcpt", 550, pipeline.ReasonRejected, true},
		{"data", 554, pipeline.ReasonRejected, true},
		{"mail", 421, pipeline.ReasonUnavailable, false},
		{"rcpt", 450, pipeline.ReasonThrottled, false},
		{"rcpt", 451, pipeline.ReasonThrottled, false},
		{"data", 452, pipeline.ReasonThrottled, false},
		{"hello", 554, pipeline.ReasonUnavailable, false},
		{"login", 454, pipeline.ReasonUnavailable, false},
		{"login", 535, pipeline.ReasonUnavailable, false},
		{"mail", 530, pipeline.ReasonUnavailable, false},
		{"mail", 534, pipeline.ReasonUnavailable, false},
		{"mail", 535, pipeline.ReasonUnavailable, false},
		{"mail", 538, pipeline.ReasonUnavailable, false},
	} {
		t.Run(fmt.Sprint(tc.command, tc.code), func(t *testing.T) {
			t.Parallel()
			p := (&post{refuse: map[string]*smtp.SMTPError{tc.command: {Code: tc.code, Message: "no"}}}).start(t)
			h := start(t, p, p.with("starttls", toEmail))
			_, err := h.Handle(handlertest.Message(order))
			requireReason(t, err, tc.reason, tc.permanent)
			require.ErrorContains(t, err, fmt.Sprintf("mail server 127.0.0.1:%d", p.port))
			require.NotContains(t, err.Error(), password)
			require.NotContains(t, h.LogText(), password)
		})
	}
}

func TestTrouble(t *testing.T) {
	t.Parallel()

	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		p := new(post).start(t)
		gone, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		p.port = gone.Addr().(*net.TCPAddr).Port
		require.NoError(t, gone.Close())
		_, err = start(t, p, p.with("starttls", toEmail)).Handle(handlertest.Message(order))
		requireReason(t, err, pipeline.ReasonUnavailable, false)
	})
	t.Run("the server has no STARTTLS, so the password stays here", func(t *testing.T) {
		t.Parallel()
		p := (&post{insecure: true}).start(t)
		_, err := start(t, p, p.with("starttls", toEmail)).Handle(handlertest.Message(order))
		requireReason(t, err, pipeline.ReasonUnavailable, false)
		require.Empty(t, p.received())
	})
	t.Run("the server has no STARTTLS, so the mail stays here too", func(t *testing.T) {
		t.Parallel()
		p := (&post{insecure: true}).start(t)
		with := fmt.Sprintf("mode: smtp\nserver: {host: 127.0.0.1, port: %d}\nfrom: a@shop.example\n", p.port)
		_, err := start(t, p, with+toEmail).Handle(handlertest.Message(order))
		requireReason(t, err, pipeline.ReasonUnavailable, false)
		require.Empty(t, p.received())
	})
	t.Run("a certificate that nobody vouches for", func(t *testing.T) {
		t.Parallel()
		p := new(post).start(t)
		with := strings.Replace(p.with("starttls", toEmail), "ca_file: ca.pem, ", "", 1)
		_, err := start(t, p, with).Handle(handlertest.Message(order))
		requireReason(t, err, pipeline.ReasonUnavailable, false)
		require.Empty(t, p.received())
	})
	t.Run("a wrong password", func(t *testing.T) {
		t.Parallel()
		p := new(post).start(t)
		require.NoError(t, os.WriteFile(filepath.Join(p.dir, "password"), []byte("canary-other"), 0o600))
		_, err := start(t, p, p.with("starttls", toEmail)).Handle(handlertest.Message(order))
		requireReason(t, err, pipeline.ReasonUnavailable, false)
		require.NotContains(t, err.Error(), "canary")
	})
	t.Run("the server hangs up after the mail: the outcome is unknown", func(t *testing.T) {
		t.Parallel()
		p := (&post{hangUp: true}).start(t)
		_, err := start(t, p, p.with("starttls", toEmail)).Handle(handlertest.Message(order))
		requireReason(t, err, pipeline.ReasonUnavailable, false)
	})
	t.Run("the server hangs up once it has confirmed the mail: it is sent", func(t *testing.T) {
		t.Parallel()
		p := (&post{hangUpLater: true}).start(t)
		send(t, start(t, p, p.with("starttls", toEmail)), order)
		require.Len(t, p.received(), 1)
	})
	t.Run("the server does not answer", func(t *testing.T) {
		t.Parallel()
		release := make(chan struct{})
		p := (&post{onMail: func() { <-release }}).start(t)
		defer close(release)
		with := strings.Replace(p.with("starttls", toEmail), "timeout: 20s", "timeout: 200ms", 1)
		_, err := start(t, p, with).Handle(handlertest.Message(order))
		requireReason(t, err, pipeline.ReasonTimeout, false)
	})
	t.Run("a stop does not wait for the server", func(t *testing.T) {
		t.Parallel()
		release := make(chan struct{})
		ctx, stop := context.WithCancelCause(t.Context())
		p := (&post{onMail: func() {
			stop(pipeline.ErrStopping)
			<-release
		}}).start(t)
		defer close(release)
		msg := handlertest.Message(order)
		msg.SetContext(ctx)
		with := strings.Replace(p.with("starttls", toEmail), "timeout: 20s", "timeout: 1h", 1)
		_, err := start(t, p, with).Handle(msg)
		require.ErrorIs(t, err, pipeline.ErrStopping)
		require.False(t, pipeline.ReasonOf(err).TripsBreaker(), "it is no fault of the server")
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ with, want string }{
		"mode":          {"mode: post", `/mode: "post" is not one of simulated, smtp`},
		"nothing set":   {"mode: smtp", "/server/host: is needed"},
		"no recipient":  {"mode: smtp", "/to: one of address, pointers and rule is needed"},
		"no sender":     {"mode: smtp", `/from: "" is not a mail address`},
		"two ways":      {"mode: smtp\nto: {address: a@b.example, rule: meta.a}", "/to: one of"},
		"address":       {"to: {address: nobody}", `/to/address: "nobody" is not`},
		"pointer":       {"to: {pointers: [/a, b]}", "/to/pointers/1: "},
		"rule":          {"to: {rule: 'order.email'}", "/to/rule: "},
		"tls":           {"mode: smtp\nserver: {tls: maybe}", "/server/tls: "},
		"port":          {"mode: smtp\nserver: {port: 70000}", "/server/port: "},
		"user alone":    {"mode: smtp\nserver: {user: a}", "/server/user: "},
		"no time":       {"mode: smtp\nserver: {timeout: 0s}", "/server/timeout: "},
		"subject":       {"subject: '{{.Order'", "/subject: "},
		"text":          {"text: '{{end}}'", "/text: "},
		"html":          {"html: '{{.}'", "/html: "},
		"password file": {"mode: smtp\nserver: {host: h, user: u, password_file: none}\nfrom: a@b.example\nto: {address: a@b.example}", "no such file"},
		"ca file":       {"mode: smtp\nserver: {host: h, ca_file: none}\nfrom: a@b.example\nto: {address: a@b.example}", "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := handlertest.New(t, email.Kind(), handlertest.Params{With: tc.with, Dir: t.TempDir()})
			require.ErrorContains(t, err, tc.want)
			if strings.HasPrefix(tc.want, "/") {
				var field *pipeline.FieldError
				require.ErrorAs(t, err, &field)
			}
		})
	}
}

func start(t *testing.T, p *post, with string) *handlertest.Handler {
	t.Helper()
	return handlertest.Start(t, email.Kind(), handlertest.Params{With: with, Dir: p.dir})
}

func send(t *testing.T, h *handlertest.Handler, payload string) {
	t.Helper()
	_, err := h.Handle(handlertest.Message(payload))
	require.NoError(t, err)
}

func requireReason(t *testing.T, err error, reason pipeline.Reason, permanent bool) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, reason, pipeline.ReasonOf(err), "%v", err)
	require.Equal(t, permanent, pipeline.IsPermanent(err), "%v", err)
}
