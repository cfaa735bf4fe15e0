-- +goose Up
CREATE TABLE replay_selection (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	asked      TEXT NOT NULL,    -- JSON: the filter or the ids
	actor      TEXT NOT NULL,
	at         INTEGER NOT NULL,
	ready      INTEGER NOT NULL, -- 1: all of its letters are noted, and it is not being removed
	n          INTEGER NOT NULL,
	parked     INTEGER NOT NULL,
	by_handler TEXT NOT NULL,    -- JSON
	by_topic   TEXT NOT NULL
);

CREATE TABLE replay_letter (
	selection INTEGER NOT NULL,
	pos       INTEGER NOT NULL, -- from 1: the order of sending
	letter    INTEGER NOT NULL,
	seen      INTEGER NOT NULL, -- its version
	PRIMARY KEY (selection, pos)
) WITHOUT ROWID;

CREATE TABLE replay_run (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	selection  INTEGER NOT NULL,
	options    TEXT NOT NULL,    -- JSON
	actor      TEXT NOT NULL,
	why        TEXT NOT NULL,
	state      TEXT NOT NULL,
	problem    TEXT NOT NULL,
	started_at INTEGER NOT NULL,
	changed_at INTEGER NOT NULL,
	n          INTEGER NOT NULL,
	reached    INTEGER NOT NULL, -- the last pos that had its turn
	sent       INTEGER NOT NULL, -- of them, outcome unknown
	completed  INTEGER NOT NULL,
	dead       INTEGER NOT NULL,
	skipped    INTEGER NOT NULL,
	forgiven   INTEGER NOT NULL,
	token      TEXT NOT NULL,
	until      INTEGER NOT NULL  -- the lease's end; 0: nobody has it
);
CREATE INDEX replay_run_selection ON replay_run (selection);

CREATE TABLE replay_item (
	run    INTEGER NOT NULL,
	pos    INTEGER NOT NULL,
	letter INTEGER NOT NULL,
	state  TEXT NOT NULL,
	why    TEXT NOT NULL,
	deaths INTEGER NOT NULL,
	PRIMARY KEY (run, pos)
) WITHOUT ROWID;
CREATE INDEX replay_item_sent ON replay_item (run, pos) WHERE state = 'sent';

-- +goose Down
DROP TABLE replay_item;
DROP TABLE replay_run;
DROP TABLE replay_letter;
DROP TABLE replay_selection;
