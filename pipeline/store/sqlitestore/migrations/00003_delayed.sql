-- +goose Up
CREATE TABLE delayed (
	id       INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of a key
	handler  TEXT NOT NULL,
	message  TEXT NOT NULL,
	copy     TEXT NOT NULL,
	topic    TEXT NOT NULL,
	msg_key  TEXT NOT NULL,
	due_at   INTEGER NOT NULL,
	ready_at INTEGER NOT NULL, -- due_at, or where it is leased the lease's end
	blocked  INTEGER NOT NULL, -- 1: another of its key comes first
	token    TEXT NOT NULL,
	leases   INTEGER NOT NULL,
	attempts INTEGER NOT NULL,
	first_at INTEGER NOT NULL,
	reason   TEXT NOT NULL,
	error    TEXT NOT NULL,
	overtake INTEGER NOT NULL,
	replay   INTEGER NOT NULL,
	headers  TEXT NOT NULL,
	payload  BLOB NOT NULL,
	UNIQUE (handler, message, copy)
);
CREATE INDEX delayed_ready ON delayed (handler, ready_at, id) WHERE blocked = 0;
CREATE INDEX delayed_key ON delayed (handler, msg_key, id) WHERE overtake = 0;

-- +goose Down
DROP TABLE delayed;
