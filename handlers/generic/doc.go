// Package generic holds the kinds map, filter and route, which do what rules
// of the config say.
//
// A rule is an expression (package handlers/rule) over two names: payload, the
// message's payload as JSON, and meta, its metadata as an object of strings.
// A rule that uses payload makes a message that is not JSON a dead letter; a
// rule that only uses meta takes any message.
//
//	small:
//	  kind: filter
//	  from: orders-in
//	  to: small-orders
//	  with: {when: 'payload.total < 1000'}
//
// What a rule does not change stays as it is: a message that passes a filter,
// a route, or a map without `payload`, leaves with the bytes that it came
// with.
package generic
