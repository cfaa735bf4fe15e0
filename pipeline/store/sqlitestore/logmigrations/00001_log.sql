-- +goose Up
CREATE TABLE message_log (
	id           INTEGER PRIMARY KEY AUTOINCREMENT,
	handler      TEXT NOT NULL,
	message      TEXT NOT NULL,
	state        TEXT NOT NULL,
	topic        TEXT NOT NULL,
	subscription TEXT NOT NULL,
	part         INTEGER NOT NULL,
	place        INTEGER NOT NULL,
	msg_key      TEXT NOT NULL,
	correlation  TEXT NOT NULL,
	causation    TEXT NOT NULL,
	reason       TEXT NOT NULL,
	error        TEXT NOT NULL,
	at           INTEGER NOT NULL,
	size         INTEGER NOT NULL, -- of the payload as it came
	kept         INTEGER NOT NULL, -- bytes that this row takes, about
	outputs      TEXT NOT NULL,    -- an id a line
	attempts     TEXT NOT NULL,    -- a line of JSON each
	form         INTEGER NOT NULL,
	headers      TEXT NOT NULL,
	payload      BLOB NOT NULL,
	UNIQUE (message, handler)
);
CREATE INDEX message_log_state ON message_log (state, at, id);
CREATE INDEX message_log_key ON message_log (msg_key) WHERE msg_key <> '';
CREATE INDEX message_log_correlation ON message_log (correlation) WHERE correlation <> '';

CREATE TABLE log_size (
	state TEXT PRIMARY KEY,
	bytes INTEGER NOT NULL
) WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER message_log_insert AFTER INSERT ON message_log BEGIN
	INSERT INTO log_size (state, bytes) VALUES (NEW.state, NEW.kept) ON CONFLICT (state) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER message_log_update AFTER UPDATE ON message_log BEGIN
	UPDATE log_size SET bytes = bytes - OLD.kept WHERE state = OLD.state;
	INSERT INTO log_size (state, bytes) VALUES (NEW.state, NEW.kept) ON CONFLICT (state) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER message_log_delete AFTER DELETE ON message_log BEGIN
	UPDATE log_size SET bytes = bytes - OLD.kept WHERE state = OLD.state;
END;
-- +goose StatementEnd

-- +goose Down
DROP TABLE message_log;
DROP TABLE log_size;
