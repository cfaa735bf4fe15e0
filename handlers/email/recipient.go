package email

import (
	"net/mail"
	"strings"
	"unicode"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/handlers/internal/view"
	"github.com/waybill-dev/waybill/handlers/rule"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/pointer"
)

// recipient finds the address that a message's mail goes to.
type recipient struct {
	fixed    string
	pointers []string
	rule     *rule.Program // nil: pointers, or fixed
}

func newRecipient(c Recipient) (*recipient, error) {
	r := &recipient{fixed: c.Address, pointers: c.Pointers}
	if c.Rule == "" {
		return r, nil
	}
	var err error
	r.rule, err = view.Compile(c.Rule)
	return r, err
}

// address returns the recipient's address, parsed. Without one the message is
// invalid.
func (r *recipient) address(msg *message.Message) (*mail.Address, error) {
	text, err := r.find(msg)
	if err != nil {
		return nil, err
	}
	if err := singleLine(text); err != nil {
		return nil, err
	}
	address, err := mail.ParseAddress(text)
	if err != nil {
		return nil, pipeline.Invalid("recipient is not a mail address: %w", err)
	}
	return address, nil
}

func (r *recipient) find(msg *message.Message) (string, error) {
	if r.rule != nil {
		return view.Of(msg).Text(r.rule)
	}
	for _, path := range r.pointers {
		value, found, err := pointer.Lookup(msg.Payload, path)
		if err != nil {
			return "", pipeline.Invalid("recipient: %w", err)
		}
		if text, ok := pointer.Text(value); found && ok {
			return text, nil
		}
	}
	if r.fixed == "" {
		return "", pipeline.Invalid("the message has no recipient at %s", strings.Join(r.pointers, ", "))
	}
	return r.fixed, nil
}

// singleLine refuses text that could break out of a header.
func singleLine(text string) error {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return pipeline.Invalid("%.80q has a line break or another control character in it", text)
	}
	return nil
}
