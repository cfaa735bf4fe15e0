// Package place is where the benchmark happens: brokers, and on each of them
// a Site for one drain, which is a fresh input with all its orders and a fresh
// output.
//
// It looks at both from outside, as any client could: how many outputs there
// are, how many orders are left, which bytes came out. Waybill's sites are made
// by the waybill binary itself, so that they are what a user has.
package place
