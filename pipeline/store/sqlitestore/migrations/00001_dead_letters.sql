-- +goose Up
CREATE TABLE dead_letter (
	id           INTEGER PRIMARY KEY AUTOINCREMENT, -- cursors count on ids that only rise
	handler      TEXT NOT NULL,
	message      TEXT NOT NULL,
	twin         TEXT NOT NULL,             -- the copy, where equal messages share the id
	state        TEXT NOT NULL,
	version      INTEGER NOT NULL,
	topic        TEXT NOT NULL,
	subscription TEXT NOT NULL,
	part         INTEGER NOT NULL,
	place        INTEGER NOT NULL,
	msg_key      TEXT NOT NULL,
	correlation  TEXT NOT NULL,
	reason       TEXT NOT NULL,
	error        TEXT NOT NULL,
	error_type   TEXT NOT NULL,
	fingerprint  TEXT NOT NULL,
	attempts     INTEGER NOT NULL,
	first_at     INTEGER NOT NULL,          -- Unix microseconds, as all times
	last_at      INTEGER NOT NULL,
	deaths       INTEGER NOT NULL,
	replays      INTEGER NOT NULL,
	note         TEXT NOT NULL,
	buried_at    INTEGER NOT NULL,
	changed_at   INTEGER NOT NULL,
	expires_at   INTEGER NOT NULL,
	edited       INTEGER NOT NULL,
	form         INTEGER NOT NULL,          -- 0 bytes, 1 text, 2 JSON that can be looked into
	stack        TEXT NOT NULL,             -- long columns last: what is before them is read without them
	headers      TEXT NOT NULL,
	payload      BLOB NOT NULL,
	UNIQUE (handler, message, twin)
);
CREATE INDEX dead_letter_state ON dead_letter (state, id);
CREATE INDEX dead_letter_group ON dead_letter (handler, fingerprint, id);
CREATE INDEX dead_letter_message ON dead_letter (message);
CREATE INDEX dead_letter_expiry ON dead_letter (expires_at) WHERE expires_at > 0;

-- Every copy that was buried, so that it is buried once.
CREATE TABLE dead_copy (
	handler TEXT NOT NULL,
	message TEXT NOT NULL,
	copy    TEXT NOT NULL,
	PRIMARY KEY (handler, message, copy)
) WITHOUT ROWID;

-- The content of edited letters as they died.
CREATE TABLE dead_original (
	id      INTEGER PRIMARY KEY,
	headers TEXT NOT NULL,
	payload BLOB NOT NULL
);

CREATE TABLE dead_group (
	handler     TEXT NOT NULL,
	fingerprint TEXT NOT NULL,
	reason      TEXT NOT NULL,
	error_type  TEXT NOT NULL,
	error       TEXT NOT NULL,
	note        TEXT NOT NULL,
	first_at    INTEGER NOT NULL,
	last_at     INTEGER NOT NULL,
	PRIMARY KEY (handler, fingerprint)
) WITHOUT ROWID;

CREATE TABLE dead_count (
	handler     TEXT NOT NULL,
	fingerprint TEXT NOT NULL,
	state       TEXT NOT NULL,
	n           INTEGER NOT NULL,
	PRIMARY KEY (handler, fingerprint, state)
) WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER dead_letter_insert AFTER INSERT ON dead_letter BEGIN
	INSERT INTO dead_count (handler, fingerprint, state, n) VALUES (NEW.handler, NEW.fingerprint, NEW.state, 1)
		ON CONFLICT (handler, fingerprint, state) DO UPDATE SET n = n + 1;
	INSERT INTO dead_group (handler, fingerprint, reason, error_type, error, note, first_at, last_at)
		VALUES (NEW.handler, NEW.fingerprint, NEW.reason, NEW.error_type, NEW.error, '', NEW.first_at, NEW.last_at)
		ON CONFLICT (handler, fingerprint) DO UPDATE SET error = excluded.error,
			first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER dead_letter_update AFTER UPDATE OF state, fingerprint, last_at ON dead_letter BEGIN
	UPDATE dead_count SET n = n - 1 WHERE handler = OLD.handler AND fingerprint = OLD.fingerprint AND state = OLD.state;
	INSERT INTO dead_count (handler, fingerprint, state, n) VALUES (NEW.handler, NEW.fingerprint, NEW.state, 1)
		ON CONFLICT (handler, fingerprint, state) DO UPDATE SET n = n + 1;
	INSERT INTO dead_group (handler, fingerprint, reason, error_type, error, note, first_at, last_at)
		VALUES (NEW.handler, NEW.fingerprint, NEW.reason, NEW.error_type, NEW.error, '', NEW.first_at, NEW.last_at)
		ON CONFLICT (handler, fingerprint) DO UPDATE SET error = excluded.error,
			first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER dead_letter_delete AFTER DELETE ON dead_letter BEGIN
	UPDATE dead_count SET n = n - 1 WHERE handler = OLD.handler AND fingerprint = OLD.fingerprint AND state = OLD.state;
	DELETE FROM dead_original WHERE id = OLD.id;
	DELETE FROM dead_copy WHERE handler = OLD.handler AND message = OLD.message AND (OLD.twin = '' OR copy = OLD.twin);
END;
-- +goose StatementEnd

-- +goose Down
DROP TABLE dead_letter;
DROP TABLE dead_copy;
DROP TABLE dead_original;
DROP TABLE dead_group;
DROP TABLE dead_count;
