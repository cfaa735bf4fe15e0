-- +goose Up
CREATE TABLE document (
	handler    TEXT NOT NULL,
	doc_key    TEXT NOT NULL,
	version    INTEGER NOT NULL, -- of the last save, from 1
	value      BLOB NOT NULL,
	expires_at INTEGER NOT NULL, -- 0: never
	PRIMARY KEY (handler, doc_key)
);
CREATE INDEX document_expiry ON document (expires_at) WHERE expires_at > 0;

-- +goose Down
DROP TABLE document;
