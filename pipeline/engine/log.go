package engine

import (
	"context"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill"
)

// routerLog is Watermill's log as ours. What its router tells of its own
// running is of interest to who debugs it; errors stay errors. Watermill's own
// adapter builds the attributes of a line before it asks whether anybody wants
// it, twice a message.
type routerLog struct{ log *slog.Logger }

const levelTrace = slog.LevelDebug - 4

func (r routerLog) Error(msg string, err error, fields watermill.LogFields) {
	r.write(slog.LevelError, msg, fields.Add(watermill.LogFields{"error": err}))
}

func (r routerLog) Info(msg string, fields watermill.LogFields) {
	r.write(slog.LevelDebug, msg, fields)
}

func (r routerLog) Debug(msg string, fields watermill.LogFields) { r.write(levelTrace, msg, fields) }

func (r routerLog) Trace(msg string, fields watermill.LogFields) { r.write(levelTrace, msg, fields) }

func (r routerLog) With(fields watermill.LogFields) watermill.LoggerAdapter {
	return routerLog{r.log.With(attributes(fields)...)}
}

func (r routerLog) write(level slog.Level, msg string, fields watermill.LogFields) {
	if ctx := context.Background(); r.log.Enabled(ctx, level) {
		r.log.Log(ctx, level, msg, attributes(fields)...)
	}
}

func attributes(fields watermill.LogFields) []any {
	all := make([]any, 0, 2*len(fields))
	for name, value := range fields {
		all = append(all, name, value)
	}
	return all
}
