-- +goose Up
CREATE TABLE replay_selection (
	id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	asked      TEXT NOT NULL, -- JSON: the filter or the ids
	actor      TEXT NOT NULL,
	at         BIGINT NOT NULL,
	ready      BIGINT NOT NULL, -- 1: all of its letters are noted, and it is not being removed
	n          BIGINT NOT NULL,
	parked     BIGINT NOT NULL,
	by_handler TEXT NOT NULL, -- JSON
	by_topic   TEXT NOT NULL
);

CREATE TABLE replay_letter (
	selection BIGINT NOT NULL,
	pos       BIGINT NOT NULL, -- from 1: the order of sending
	letter    BIGINT NOT NULL,
	seen      BIGINT NOT NULL, -- its version
	PRIMARY KEY (selection, pos)
);

CREATE TABLE replay_run (
	id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	selection  BIGINT NOT NULL,
	options    TEXT NOT NULL, -- JSON
	actor      TEXT NOT NULL,
	why        TEXT NOT NULL,
	state      TEXT NOT NULL,
	problem    TEXT NOT NULL,
	started_at BIGINT NOT NULL,
	changed_at BIGINT NOT NULL,
	n          BIGINT NOT NULL,
	reached    BIGINT NOT NULL, -- the last pos that had its turn
	sent       BIGINT NOT NULL, -- of them, outcome unknown
	completed  BIGINT NOT NULL,
	dead       BIGINT NOT NULL,
	skipped    BIGINT NOT NULL,
	forgiven   BIGINT NOT NULL,
	token      TEXT NOT NULL,
	until      BIGINT NOT NULL -- the lease's end; 0: nobody has it
);
CREATE INDEX replay_run_selection ON replay_run (selection);

CREATE TABLE replay_item (
	run    BIGINT NOT NULL,
	pos    BIGINT NOT NULL,
	letter BIGINT NOT NULL,
	state  TEXT NOT NULL,
	why    TEXT NOT NULL,
	deaths BIGINT NOT NULL,
	PRIMARY KEY (run, pos)
);
CREATE INDEX replay_item_sent ON replay_item (run, pos) WHERE state = 'sent';

-- +goose Down
DROP TABLE replay_item;
DROP TABLE replay_run;
DROP TABLE replay_letter;
DROP TABLE replay_selection;
