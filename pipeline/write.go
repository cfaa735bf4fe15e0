package pipeline

// Write is a change of the store that is prepared and not made yet: a receipt,
// a delayed message, the end of one, a dead letter. The store makes it as one
// part of a transaction: of its own, or, where broker and store are one SQLite
// file, of the broker's that publishes the outputs and acknowledges the input,
// so that an outcome happens as a whole or not at all (design §3, Embedded).
//
// tx is the transaction in the form of whoever made it; a Write refuses a form
// that its store does not know. It may be called more than once, when a
// transaction is tried again, the last time being the one that counts; a Write
// leaves nothing behind but what it wrote. It must not be called by two
// goroutines at once. Its error undoes the transaction.
type Write func(tx any) error
