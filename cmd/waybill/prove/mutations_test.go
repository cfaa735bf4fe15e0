package prove

import (
	"path/filepath"
	"testing"

	"github.com/waybill-dev/waybill/pipeline/broker/brokertest"
)

// mutation breaks the product in one place, and names a check that must fail.
type mutation struct {
	name     string
	file     string // from the top of the repository
	old, new string // old must be there once
	pkg      string
	test     string // -run
}

var mutations = []mutation{
	{
		"AckBeforePublish", "pipeline/engine/route.go",
		"l.Begin(outcome, ended)", "r.settled(msg, outcome.Conclude(nil))\n\t\tl.Begin(outcome, ended)",
		"./cmd/waybill/prove", "^TestSIGKILL$/^rabbitmq$",
	},
	{
		"AckAfterTheFirstConfirm", "middleware/flights.go",
		"f.heard == len(f.out) {", "f.heard >= 1 {",
		"./middleware", "^TestFlights$/^a_message_ends",
	},
	{
		"OneStuckHoldsUpAll", "pipeline/broker/rabbitbroker/confirmer.go",
		"if f := c.flying[n]; f != nil {", "if f := c.flying[n]; f != nil && n == 0 {",
		"./pipeline/broker/rabbitbroker", "^TestStart_OneStuckHoldsUpNobody$",
	},
	{
		"HandedOverWithGaps", "pipeline/broker/embedbroker/fresh.go",
		" || last >= 0 && f.coming[last].pos != pos-1 {", " || last < -1 {",
		"./pipeline/broker/embedbroker", "^TestFresh$",
	},
	{
		"NoMandatory", "pipeline/broker/rabbitbroker/frames.go",
		"const mandatory = 1", "const mandatory = 0",
		"./cmd/waybill/app", "^TestRows_RabbitMQ$/^2-W1",
	},
	{
		"CommitPastAGap", "pipeline/broker/tracker.go",
		"for t.size > 0 && t.at(0).state == entryDone {", "for t.size > 0 && len(t.news) > 0 && t.at(0).pos <= t.news[len(t.news)-1] {",
		"./cmd/waybill/prove", "^TestSIGKILL_SlowKey$/^kafka$",
	},
	{
		"NackLoop", "middleware/settle.go",
		"err = s.settle(msg, outcome, err)", "return err",
		"./middleware", "^TestSettle$/^0-12",
	},
	{
		"NoBarrier", "pipeline/broker/rabbitbroker/consumer.go",
		"c.hangUp(a.acked)", "c.hangUp(false)",
		"./pipeline/broker/rabbitbroker", "^TestBarrier",
	},
	{
		"AckBeforeTheStore", "pipeline/replay/reader.go",
		"if err := r.archiver.opts.Store.Do(ctx, writes...); err != nil {",
		"for _, msg := range batch {\n\t\tr.done(msg)\n\t}\n\tif err := r.archiver.opts.Store.Do(ctx, writes...); err != nil {",
		"./cmd/waybill/app", "^TestArchiver_StoreAway$/^rabbitmq$",
	},
	{
		"SwitchBeforeEmpty", "pipeline/engine/route.go",
		"if r.left == nil || !r.left.first {", "if true {",
		"./pipeline/engine", "^TestDraining$/^with_an_order_nothing",
	},
	{
		"AckBeforeTheStore", "middleware/settle.go",
		"err := s.Holder.Until(msg, \"delay the message\",", "var err error\n\tgo s.Holder.Until(msg, \"delay the message\",",
		"./middleware", "^TestDelay$/^while_the_store",
	},
	{
		"DoneBeforeTheStore", "pipeline/engine/send.go",
		"return each, e.opts.Store.Do(ctx, writes...)", "go e.opts.Store.Do(context.WithoutCancel(ctx), writes...)\n\t\treturn each, nil",
		"./cmd/waybill/prove", "^TestStoreKilled$/^rabbitmq$",
	},
	{
		"NoAnswerIsANo", "pipeline/store/pgstore/database.go",
		"err = d.marks.fate(ctx, d.pool, token, err)", "",
		"./cmd/waybill/prove", "^TestStoreKilled$/^rabbitmq$",
	},
	{
		"NoLeaseToken", "pipeline/store/internal/sqlstore/delayed.go",
		"if err == nil && n == 0 {", "if err == nil && n < 0 {",
		"./cmd/waybill/prove", "^TestLateOutcome$",
	},
	{
		"NoLeaseToken", "pipeline/store/internal/sqlstore/delayed.go",
		"if err == nil && n == 0 {", "if err == nil && n < 0 {",
		"./cmd/waybill/prove", "^TestReplayStopped$",
	},
	{
		"LeasesThatLastForEver", "pipeline/replay/runner.go",
		"leaseTime = 8 * time.Second", "leaseTime = time.Hour",
		"./cmd/waybill/prove", "^TestReplayShared$",
	},
	{
		"LeasesThatLastForEver", "pipeline/engine/inlet.go",
		"i.store.LeaseDue(ctx, i.handler, n, leaseTTL)", "i.store.LeaseDue(ctx, i.handler, n, time.Hour)",
		"./cmd/waybill/prove", "^TestDelayedShared$",
	},
	{
		"LaneNotHeld", "pipeline/engine/order.go",
		"case held:", "case held && false:",
		"./cmd/waybill/app", "^TestDelayed$/^rabbitmq$/^1-W2",
	},
	{
		"LaneNotHeldAfterATakeover", "pipeline/engine/order.go",
		"return begun.Before(o.loaded) && len(o.keys) <= o.room, o.keys[lane]", "return true, o.keys[lane]",
		"./cmd/waybill/app", "^TestDelayed$/^embedded$/^a_key_stays",
	},
	{
		"ReservedIsDone", "middleware/receipts.go",
		"if was.State == store.Done {", "if was.State != store.Free {",
		"./cmd/waybill/prove", "^TestEffectCrash$/^embedded$/^0-W2",
	},
	{
		"FailureKeepsReceipt", "middleware/receipts.go",
		"return e.Store.FreeReceipt(e.key, e.Owner)", "return e.Store.FinishReceipt(store.Receipt{ReceiptKey: e.key, Hash: e.hash, Owner: e.Owner})",
		"./cmd/waybill/app", "^TestReceipts$/^embedded_and_SQLite$/^2-W5",
	},
	{
		"ReceiptInAnotherTransaction", "pipeline/engine/send.go",
		"return commit(ctx, c, in, out, writes)",
		"each, err := commit(ctx, c, in, out, nil)\n\t\t\tif err == nil && len(writes) > 0 {\n\t\t\t\tfor range 20 { // other writes meanwhile, so that the kill has a chance\n\t\t\t\t\t_ = e.opts.Store.Ping(ctx)\n\t\t\t\t}\n\t\t\t\terr = e.opts.Store.Do(ctx, writes...)\n\t\t\t}\n\t\t\treturn each, err",
		"./cmd/waybill/prove", "^TestReceiptAndOutcome$",
	},
	{
		"NoTurns", "middleware/inhand.go",
		"if there, taken := h.held[key]; taken {", "if there, taken := h.held[key]; taken && false {",
		"./middleware", "^TestReceipts$/^2-41",
	},
	{
		"StateOutsideTheOutcome", "pipeline/engine/handlerstate.go",
		"return func(tx any) error {\n\t\terr := write(tx)", "done := s.documents.(store.Store).Do(context.Background(), write)\n\treturn func(any) error {\n\t\terr := done",
		"./cmd/waybill/prove", "^TestTracking_Crash$/^rabbitmq$",
	},
	{
		"StateOfAnyVersion", "pipeline/store/internal/sqlstore/document.go",
		"WHERE handler = $1 AND doc_key = $2 AND version = $3`", "WHERE handler = $1 AND doc_key = $2 AND $3 >= 0`",
		"./cmd/waybill/app", "^TestRows_Stages$/^embedded$/^0-D25_events_that_come",
	},
	{
		"NoSync", "pipeline/sqlitefile/file.go",
		`pragma("synchronous(FULL)")`, `pragma("synchronous(OFF)")`,
		"./cmd/waybill/prove", "^TestPowerLoss$",
	},
	{
		"StoreNoSync", "pipeline/sqlitefile/file.go",
		`pragma("synchronous(FULL)")`, `pragma("synchronous(NORMAL)")`,
		"./cmd/waybill/prove", "^TestPowerLoss_Store$",
	},
	{
		"BlindToAReplacedFile", "pipeline/sqlitefile/writer.go",
		"err = w.guard.check()", "err = nil",
		"./pipeline/sqlitefile", "^TestGuard_Replaced$",
	},
	{
		"FolderNotDurable", "cmd/waybill/app/folder.go",
		"return syncFolder(above)", "return nil",
		"./cmd/waybill/prove", "^TestPowerLoss$",
	},
	{
		"NoSuspectsAtStart", "pipeline/journal/journal.go",
		"j.store.EndLife(ctx, before.life, ran)", "j.store.EndLife(ctx, before.life, nil)",
		"./cmd/waybill/prove", "^TestPoison$/^embedded$",
	},
	{
		"StopIsACrash", "pipeline/journal/journal.go",
		"j.slots.clear()\n\tvar err error\n\tif j.begun.Load() {", "var err error\n\tif false {",
		"./cmd/waybill/prove", "^TestPoison_Stops$",
	},
	{
		"SuspectsSideBySide", "pipeline/journal/gate.go",
		"for !g.idle() {", "for false {",
		"./pipeline/journal", "^TestGate$",
	},
}

// TestMutations_OfThisCode: each of them still finds what it breaks. Whether a check
// fails of it is for TestMutations to show.
func TestMutations_OfThisCode(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			brokertest.Overlay(t, filepath.Join("../../..", m.file), m.old, m.new)
		})
	}
}
