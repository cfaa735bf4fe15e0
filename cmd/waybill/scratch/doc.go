// Package scratch removes topics that were made for a moment, with all that a
// subscription keeps on the broker: what `waybill bench` leaves behind.
//
// Drivers make topics and never remove one, and nothing that runs messages
// needs to. So this is a client of its own, for this one errand.
package scratch
