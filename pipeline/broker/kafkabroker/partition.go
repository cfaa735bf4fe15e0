package kafkabroker

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/IBM/sarama"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// partition is one partition for as long as it is ours. Three goroutines
// share the work: the read-ahead takes records from sarama, run delivers them
// to the window, and the ledger commits what is done.
type partition struct {
	*session
	as     sarama.ConsumerGroupSession
	feed   sarama.ConsumerGroupClaim
	number int32
	log    *slog.Logger

	suspects int // how many of the next messages may have been handed out before
}

func newPartition(s *session, as sarama.ConsumerGroupSession, feed sarama.ConsumerGroupClaim) *partition {
	return &partition{
		session: s, as: as, feed: feed, number: feed.Partition(),
		log: s.log.With("partition", feed.Partition()),
	}
}

// run works on the partition until it is to be given up, and returns within
// the time for which the group waits.
func (p *partition) run() {
	ours, lost := context.WithCancel(p.as.Context())
	defer lost()
	ahead := newReadAhead(p, lost)
	defer ahead.stop()
	start, err := p.begin(ours)
	if err != nil {
		if ours.Err() == nil {
			p.log.Warn("cannot begin on the partition", "error", err)
		}
		return
	}
	claim := p.w.Claim(broker.ClaimOptions{Partition: p.number, MaxSpan: maxSpan})
	ledger := newLedger(p, claim, start)
	stop := make(chan struct{})
	var keeping sync.WaitGroup
	keeping.Go(func() { ledger.keep(stop) })
	p.deliver(ours, ahead, claim, ledger)
	finished := p.close(claim)
	close(stop)
	keeping.Wait()
	ledger.settle(finished)
}

// begin finds out where to begin and what is done above that. It commits this
// as open, before the first message is handed out, so that whoever comes
// after us knows that messages were.
func (p *partition) begin(ours context.Context) (position, error) {
	var start position
	err := insist(ours, func() error {
		at, err := p.committer.read(p.number)
		if err != nil {
			return err
		}
		start = at
		if at.next < 0 || p.feed.InitialOffset() < 0 {
			start, err = p.reset(at)
		}
		return err
	})
	if err != nil {
		return position{}, err
	}
	if u, ok := p.recall(p.number); ok && u.holds(start) {
		start = u.done
	}
	if !start.clean {
		p.suspects = p.sub.InFlight
	}
	start.clean = false
	return start, insist(ours, func() error {
		return p.committer.write(p.as, map[int32]position{p.number: start})
	})
}

// reset returns where to begin when nothing was committed yet, or when sarama
// says that what was committed is outside of what the partition holds: with
// the oldest message that is there. Messages that are gone are an incident.
func (p *partition) reset(at position) (position, error) {
	oldest, err := p.b.offsetAt(p.topic(), p.number, sarama.OffsetOldest)
	if err != nil {
		return position{}, err
	}
	start := position{next: oldest, clean: at.next < 0}
	if at.next < 0 {
		return start, nil
	}
	newest, err := p.b.offsetAt(p.topic(), p.number, sarama.OffsetNewest)
	if err != nil {
		return position{}, err
	}
	if at.next > newest {
		p.incident("the log ends at offset %d, before %d, up to which it was read: the topic was made anew or cut; "+
			"reading from its oldest message, %d", newest, at.next, oldest)
		start.clean = true
		return start, nil
	}
	if at.next >= oldest {
		return at, nil // sarama was wrong, and reads from the oldest; what is done is dropped
	}
	gone := oldest - at.next
	for _, offset := range at.above {
		if offset < oldest {
			gone--
		} else {
			start.above = append(start.above, offset)
		}
	}
	if gone > 0 {
		p.incident("a gap of %d messages, offsets %d to %d: they went out of retention before they were handled; "+
			"reading from the oldest that is left", gone, at.next, oldest-1)
	}
	return start, nil
}

func (p *partition) incident(format string, args ...any) {
	what := fmt.Sprintf("topic %s partition %d, group %s: ", p.topic(), p.number, p.sub.Name) + fmt.Sprintf(format, args...)
	p.b.health.incident(what)
	p.log.Error("incident", "what", what)
}

func (p *partition) topic() string { return p.sub.Topic.Name }

// deliver hands records to the window until the partition is lost or the
// window drains.
func (p *partition) deliver(ours context.Context, ahead *readAhead, claim *broker.Claim, ledger *ledger) {
	for {
		records, err := ahead.take(ours)
		if err != nil {
			return
		}
		for _, record := range records {
			if ledger.knows(record.Offset) {
				continue
			}
			if err := claim.Deliver(ours, p.delivery(record)); err != nil {
				return
			}
		}
	}
}

func (p *partition) delivery(record *sarama.ConsumerMessage) broker.Delivery {
	msg, key := decode(p.sub.Topic, record)
	origin := pipeline.Origin{
		Topic: p.topic(), Group: p.sub.Name,
		Partition: p.number, Offset: record.Offset, Redelivered: p.suspects > 0,
	}
	if p.suspects > 0 {
		p.suspects--
	}
	return broker.Delivery{Message: msg, Key: key, Position: record.Offset, Origin: origin}
}

// close ends the claim, and reports whether all that had begun has finished.
// A drain waits as long as it is let; a partition that goes to another member
// is waited for by the group, so handlers get revokeGrace and no more.
func (p *partition) close(claim *broker.Claim) (finished bool) {
	ctx := p.hard
	if p.intake.Err() == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, revokeGrace)
		defer cancel()
	}
	err := claim.Close(ctx)
	if err != nil && p.hard.Err() == nil {
		p.log.Warn("handlers did not finish before the partition was given up; their messages will be handled again",
			"after", revokeGrace, "error", err)
	}
	return err == nil
}
