-- +goose Up
-- A row of every transaction that has committed of late, for those whose
-- COMMIT had no answer. The next transaction of the same instance removes it.
CREATE TABLE store_commit (
	token TEXT PRIMARY KEY,
	at    TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- +goose Down
DROP TABLE store_commit;
