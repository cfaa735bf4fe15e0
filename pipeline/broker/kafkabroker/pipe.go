package kafkabroker

import (
	"errors"
	"time"

	"github.com/IBM/sarama"
)

const (
	requestLimit = 4 << 20 // bytes of a request, unless one batch is larger
	produceV9    = 9       // of the produce request: Kafka 2.8; for older brokers sarama lowers it

	// produceTimeout is how long a broker waits for the replicas: for less than
	// we wait for the broker, else slow replicas would cost the connection.
	produceTimeout = answerTimeout - 2*time.Second
)

// pipe sends to a broker what its partitions have. One request is on its way at
// a time, and the next takes all that has come meanwhile: more at a time made
// smaller ones, which cost the broker twice as much and gained no latency. It
// has a goroutine, so that a broker that does not read holds up no other.
type pipe struct {
	s    *stream
	wake chan struct{} // holds a token while there may be something to send

	// Under the stream's mutex.
	broker *sarama.Broker // the latest that metadata has for the id
	offers []*outlet      // that are ready, and stay so until they are taken
}

// request is a produce request.
type request struct {
	broker  *sarama.Broker
	produce *sarama.ProduceRequest
	flights []flight
}

// flight is a batch of a request.
type flight struct {
	outlet *outlet
	pack   *pack
}

// pipeTo returns the pipe to a broker.
func (s *stream) pipeTo(leader *sarama.Broker) *pipe {
	p := s.pipes[leader.ID()]
	if p == nil {
		p = &pipe{s: s, wake: make(chan struct{}, 1)}
		s.pipes[leader.ID()] = p
		s.work.Go(p.run)
	}
	p.broker = leader
	return p
}

// offer has an outlet's pipe send what it has.
func (s *stream) offer(o *outlet) {
	if o.offered || !o.ready() {
		return
	}
	o.offered = true
	o.pipe.offers = append(o.pipe.offers, o)
	signal(o.pipe.wake)
}

// run sends until the stream ends.
func (p *pipe) run() {
	for {
		select {
		case <-p.wake:
		case <-p.s.ended.Done():
			return
		}
		for r := p.load(); r != nil; r = p.load() {
			answer, err := r.send()
			p.land(r, answer, err)
		}
	}
}

// load takes what may be sent now, or returns nil.
func (p *pipe) load() *request {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if len(p.offers) == 0 || p.s.ended.Err() != nil {
		return nil
	}
	r := &request{broker: p.broker, produce: &sarama.ProduceRequest{
		Version: produceV9, RequiredAcks: sarama.WaitForAll, Timeout: int32(produceTimeout / time.Millisecond),
	}}
	offers, size := p.offers, 0
	p.offers = nil
	for i, o := range offers {
		if size += o.packs[0].size; i > 0 && size > requestLimit {
			p.offers = offers[i:]
			break
		}
		next := o.take()
		r.flights = append(r.flights, flight{o, next})
		r.produce.AddBatch(o.topic, o.number, next.batch(p.s.id, p.s.epoch, o.next))
	}
	return r
}

// send sends the request and waits for its answer, which sarama gives on the
// goroutine that reads answers, where nothing of the broker may be called. It
// always comes: at the latest when the link is closed.
func (r *request) send() (answer *sarama.ProduceResponse, err error) {
	answered := make(chan struct{})
	failed := r.broker.AsyncProduce(r.produce, func(a *sarama.ProduceResponse, e error) {
		answer, err = a, e
		close(answered)
	})
	if failed != nil {
		return nil, failed
	}
	<-answered
	return answer, err
}

// land gives each batch of a request what became of it. A connection that gave
// no answer is of no more use.
func (p *pipe) land(r *request, answer *sarama.ProduceResponse, err error) {
	if err != nil && !neverSent(err) && !errors.Is(err, sarama.ErrNotConnected) {
		_ = r.broker.Close() // its error says that it is closed already
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	for _, f := range r.flights {
		why := err
		if why == nil {
			why = errorIn(answer, f.outlet)
		}
		p.s.landed(f.outlet, f.pack, why)
	}
}

// errorIn is what an answer says of a partition's batch.
func errorIn(answer *sarama.ProduceResponse, o *outlet) error {
	block := answer.GetBlock(o.topic, o.number)
	if block == nil {
		return sarama.ErrIncompleteResponse
	}
	return errorOf(block.Err)
}
