package app

import (
	"context"
	"fmt"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/messagelog"
)

// openMessageLog starts the message log, unless it is off.
func (a *App) openMessageLog() {
	if a.pipeline.MessageLog.Mode == pipeline.LogOff {
		return
	}
	a.messages = messagelog.New(messagelog.Options{
		Config: a.pipeline.MessageLog, Instance: a.pipeline.Instance, Store: a.store, Metrics: a.metrics,
		Trouble: func(err error) { a.log.Error("the message log grows beyond its retention: " + err.Error()) },
	})
	a.onStop("message log", func(context.Context) error {
		a.messages.Close()
		return nil
	})
}

// logNotes says what of the message log is missing.
func (a *App) logNotes() []string {
	if a.messages == nil || a.messages.Unlogged() == 0 {
		return nil
	}
	return []string{fmt.Sprintf("message log: %d messages that succeeded are not in it, as its store was slow or away", a.messages.Unlogged())}
}
