-- +goose Up
CREATE TABLE audit (
	id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	operation TEXT NOT NULL, -- '': the entry stands alone
	at        BIGINT NOT NULL,
	actor     TEXT NOT NULL,
	action    TEXT NOT NULL,
	why       TEXT NOT NULL,
	target    TEXT NOT NULL, -- JSON: the ids or the filter
	n         BIGINT NOT NULL,
	detail    TEXT NOT NULL
);
CREATE UNIQUE INDEX audit_operation ON audit (operation) WHERE operation <> '';

ALTER TABLE dead_letter ADD COLUMN parked BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE dead_letter DROP COLUMN parked;
DROP TABLE audit;
