package engine

import (
	"log/slog"

	"github.com/ThreeDotsLabs/watermill"
)

// routerLog is Watermill's log as ours. What its router tells of its own
// running is of interest to who debugs it; errors stay errors.
func routerLog(log *slog.Logger) watermill.LoggerAdapter {
	return watermill.NewSlogLoggerWithLevelMapping(log, map[slog.Level]slog.Level{
		slog.LevelInfo:  slog.LevelDebug,
		slog.LevelDebug: slog.LevelDebug - 4,
	})
}
