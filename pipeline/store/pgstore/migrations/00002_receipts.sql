-- +goose Up
CREATE TABLE receipt (
	subject TEXT NOT NULL,
	effect  TEXT NOT NULL,
	state   TEXT NOT NULL,
	hash    TEXT NOT NULL,
	owner   TEXT NOT NULL,
	outcome TEXT NOT NULL,
	outputs BYTEA NOT NULL,
	since   BIGINT NOT NULL,
	PRIMARY KEY (subject, effect)
);
CREATE INDEX receipt_since ON receipt (since);

-- +goose Down
DROP TABLE receipt;
