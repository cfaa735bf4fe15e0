-- +goose Up
CREATE TABLE delayed (
	id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the order of a key
	handler  TEXT NOT NULL,
	message  TEXT NOT NULL,
	copy     TEXT NOT NULL,
	topic    TEXT NOT NULL,
	msg_key  TEXT NOT NULL,
	due_at   BIGINT NOT NULL,
	ready_at BIGINT NOT NULL, -- due_at, or where it is leased the lease's end
	blocked  BIGINT NOT NULL, -- 1: another of its key comes first
	token    TEXT NOT NULL,
	leases   BIGINT NOT NULL,
	attempts BIGINT NOT NULL,
	first_at BIGINT NOT NULL,
	reason   TEXT NOT NULL,
	error    TEXT NOT NULL,
	overtake BIGINT NOT NULL,
	replay   BIGINT NOT NULL,
	headers  TEXT NOT NULL,
	payload  BYTEA NOT NULL,
	UNIQUE (handler, message, copy)
);
CREATE INDEX delayed_ready ON delayed (handler, ready_at, id) WHERE blocked = 0;
CREATE INDEX delayed_key ON delayed (handler, msg_key, id) WHERE overtake = 0;

-- +goose Down
DROP TABLE delayed;
