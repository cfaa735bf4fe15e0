package pipeline

// Confirmer is told what became of messages that somebody began to publish.
type Confirmer interface {
	// Confirmed says whether the message with this number was confirmed: an error
	// says that it may be published or not. It is called once for each number, by
	// any goroutine, returns at once, and calls nothing of a broker, so that a
	// broker may call it under its locks.
	Confirmed(number int, err error)
}
