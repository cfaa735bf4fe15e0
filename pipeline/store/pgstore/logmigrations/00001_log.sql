-- +goose Up
CREATE TABLE message_log (
	id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	handler      TEXT NOT NULL,
	message      TEXT NOT NULL,
	state        TEXT NOT NULL,
	topic        TEXT NOT NULL,
	subscription TEXT NOT NULL,
	part         BIGINT NOT NULL,
	place        BIGINT NOT NULL,
	msg_key      TEXT NOT NULL,
	correlation  TEXT NOT NULL,
	causation    TEXT NOT NULL,
	reason       TEXT NOT NULL,
	error        TEXT NOT NULL,
	at           BIGINT NOT NULL,
	size         BIGINT NOT NULL, -- of the payload as it came
	kept         BIGINT NOT NULL, -- bytes that this row takes, about
	outputs      TEXT NOT NULL,    -- an id a line
	attempts     TEXT NOT NULL,    -- a line of JSON each
	form         BIGINT NOT NULL,
	headers      TEXT NOT NULL,
	payload      BYTEA NOT NULL,
	UNIQUE (message, handler)
);
CREATE INDEX message_log_state ON message_log (state, at, id);
CREATE INDEX message_log_key ON message_log (msg_key) WHERE msg_key <> '';
CREATE INDEX message_log_correlation ON message_log (correlation) WHERE correlation <> '';

CREATE TABLE log_size (
	state TEXT PRIMARY KEY,
	bytes BIGINT NOT NULL
) WITH (fillfactor = 50);

-- +goose StatementBegin
CREATE FUNCTION message_log_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'INSERT' THEN
		INSERT INTO log_size AS s (state, bytes) SELECT state, sum(kept) FROM fresh GROUP BY 1 ORDER BY 1
		ON CONFLICT (state) DO UPDATE SET bytes = s.bytes + excluded.bytes;
	ELSIF TG_OP = 'UPDATE' THEN
		INSERT INTO log_size AS s (state, bytes) SELECT state, sum(kept) FROM (
			SELECT state, kept FROM fresh UNION ALL SELECT state, -kept FROM stale
		) x GROUP BY 1 HAVING sum(kept) <> 0 ORDER BY 1
		ON CONFLICT (state) DO UPDATE SET bytes = s.bytes + excluded.bytes;
	ELSE
		INSERT INTO log_size AS s (state, bytes) SELECT state, -sum(kept) FROM stale GROUP BY 1 ORDER BY 1
		ON CONFLICT (state) DO UPDATE SET bytes = s.bytes + excluded.bytes;
	END IF;
	RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER message_log_insert AFTER INSERT ON message_log
	REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION message_log_change();
CREATE TRIGGER message_log_update AFTER UPDATE ON message_log
	REFERENCING OLD TABLE AS stale NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION message_log_change();
CREATE TRIGGER message_log_delete AFTER DELETE ON message_log
	REFERENCING OLD TABLE AS stale FOR EACH STATEMENT EXECUTE FUNCTION message_log_change();

-- +goose Down
DROP TABLE message_log;
DROP TABLE log_size;
DROP FUNCTION message_log_change;
