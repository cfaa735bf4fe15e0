package engine

// Requeued says that messages with these keys were put into the store for a
// handler by somebody else than its chain: a replay. Its later messages with
// one of the keys wait behind them, and they come in without waiting for the
// next look. Other instances learn of it when they take a lane over.
func (e *Engine) Requeued(handler string, keys []string) {
	for _, r := range e.routes {
		if r.handler.Name != handler {
			continue
		}
		for _, key := range keys {
			r.order.add(key)
		}
		r.inlet.wake()
	}
}
