// Package email is the kind send_email: it confirms an order to its customer
// by mail.
//
// It starts simulated: it logs that a mail would have gone out, and sends
// nothing. With `mode: smtp` it sends:
//
//	email:
//	  kind: send_email
//	  from: emails
//	  with:
//	    mode: smtp
//	    server: {host: smtp.example.com, user: shop, password_file: secrets/smtp}
//	    from: "The Shop <orders@example.com>"
//	    to: {pointers: [/customer/email, /email]}
//	    subject: "Your order {{.Order.ID}}"
//	    text: |
//	      Thank you. We received:
//	      {{range .Order.Items}}- {{.Quantity}} x {{.Label}}
//	      {{end}}
//
// # Repeats
//
// SMTP cannot say whether a mail was taken when the connection breaks right
// at the end, and a message may come twice after a crash. So every mail for
// one message and one handler carries the same Message-ID, by which mail
// programs recognise the second as a copy. A message that came without an id
// (idsource=content) gets a new one each time, since two equal orders would
// share it.
//
// # What failed
//
// A server that refuses the mail (5xx) makes the message a dead letter at
// once, for reason rejected. What is about the server and not about the mail
// is tried again and opens the handler's breaker: it cannot be reached, it
// answers 4xx, it refuses our login, it has no TLS.
//
// # What goes into a mail
//
// Everything in an order is a stranger's text. A line break in the subject or
// in an address makes the message a dead letter, so that no header can be
// smuggled in; the HTML template escapes what it prints.
package email
