// Package brokertest is the conformance suite of the brokers: one set of
// guarantees, proven on every driver by the same tests.
//
// A driver's test builds a Harness and hands it to Exercise:
//
//	func TestConformance(t *testing.T) {
//		brokertest.Exercise(t, brokertest.Harness{
//			Features: brokertest.Features{Name: "rabbitmq", Server: true},
//			Open:     func(t testing.TB, opts broker.Options) broker.Broker { … },
//		})
//	}
//
// Exercise runs
//
//   - Watermill's own universal suite twice, unordered and ordered by key, so
//     that Waybill's subscribers are good Watermill subscribers;
//   - Waybill's guarantees, each a test named for what it promises;
//   - where the broker is a server, the same on a node of its own, which is
//     killed, frozen and blocked on the way.
//
// What a broker can't do by its nature it says in Features, by name; what a
// test has to do to a broker behind the driver's back is a hook of Harness.
// A guarantee that does not apply is not run at all, so that no skipped test
// counts as passed; hooks that a broker must have are checked first.
//
// # Writing a guarantee
//
// A guarantee is a function of a fixture, which is a testing.TB with brokers,
// topics and consumers that clean up after themselves. It waits for what must
// happen with fixture.eventually, whose limit is generous, and never sleeps to
// let something happen. Where something must not happen, it makes a later
// event happen and looks back: a sentinel message behind the ones that must
// not come again.
//
// # The suite can fail
//
// A suite that passes on a broken broker is worth nothing. The package's own
// tests run the guarantees on a small broker in memory, once whole and once
// for each of its defects (acknowledges past a gap, spins on a nack, forgets
// the barrier at drain, …), and require that the guarantee in question fails.
// The same for the product itself, broken in one line at a time, which takes
// some minutes:
//
//	go test -tags mutation -run TestMutations -v ./pipeline/broker/brokertest
package brokertest
