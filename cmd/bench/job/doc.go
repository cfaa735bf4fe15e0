// Package job is what every implementation of the benchmark does: take an
// order, prepare it, publish what comes out, acknowledge the order.
//
// It has the orders, the one prepare function, and Spec, which tells a client
// process where to work. That the job is the same for all is not taken on
// trust: Check compares every output, byte for byte, with what prepare makes
// of the order.
package job
