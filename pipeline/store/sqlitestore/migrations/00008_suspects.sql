-- +goose Up
CREATE TABLE suspect (
	handler  TEXT NOT NULL,
	message  TEXT NOT NULL,
	topic    TEXT NOT NULL,
	crashes  INTEGER NOT NULL,
	life     TEXT NOT NULL, -- of the process that runs it; '': none does
	until_at INTEGER NOT NULL, -- when that is over unless it says more; 0 without a life
	first_at INTEGER NOT NULL,
	last_at  INTEGER NOT NULL, -- the last crash
	PRIMARY KEY (handler, message)
);
CREATE INDEX suspect_last ON suspect (last_at);

-- +goose Down
DROP TABLE suspect;
