// Package trial runs one implementation once, in processes of its own, and
// says what it took.
//
// A Drain fills an input, lets the clients empty it and times the output from
// outside, from 1 % to the end, so that starting up is not in it; then it
// checks that all is there. A Latency feeds a fixed rate and times each
// message from when it was due.
package trial
