-- +goose Up
CREATE TABLE dead_letter (
	id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	handler      TEXT NOT NULL,
	message      TEXT NOT NULL,
	twin         TEXT NOT NULL,             -- the copy, where equal messages share the id
	state        TEXT NOT NULL,
	version      BIGINT NOT NULL,
	topic        TEXT NOT NULL,
	subscription TEXT NOT NULL,
	part         BIGINT NOT NULL,
	place        BIGINT NOT NULL,
	msg_key      TEXT NOT NULL,
	correlation  TEXT NOT NULL,
	reason       TEXT NOT NULL,
	error        TEXT NOT NULL,
	error_type   TEXT NOT NULL,
	fingerprint  TEXT NOT NULL,
	attempts     BIGINT NOT NULL,
	first_at     BIGINT NOT NULL,          -- Unix microseconds, as all times
	last_at      BIGINT NOT NULL,
	deaths       BIGINT NOT NULL,
	replays      BIGINT NOT NULL,
	note         TEXT NOT NULL,
	buried_at    BIGINT NOT NULL,
	changed_at   BIGINT NOT NULL,
	expires_at   BIGINT NOT NULL,
	edited       BIGINT NOT NULL,
	form         BIGINT NOT NULL,          -- 0 bytes, 1 text, 2 JSON that can be looked into
	stack        TEXT NOT NULL,
	headers      TEXT NOT NULL,
	payload      BYTEA NOT NULL,
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
);

-- The content of edited letters as they died.
CREATE TABLE dead_original (
	id      BIGINT PRIMARY KEY,
	headers TEXT NOT NULL,
	payload BYTEA NOT NULL
);

CREATE TABLE dead_group (
	handler     TEXT NOT NULL,
	fingerprint TEXT NOT NULL,
	reason      TEXT NOT NULL,
	error_type  TEXT NOT NULL,
	error       TEXT NOT NULL,
	note        TEXT NOT NULL,
	first_at    BIGINT NOT NULL,
	last_at     BIGINT NOT NULL,
	PRIMARY KEY (handler, fingerprint)
);

CREATE TABLE dead_count (
	handler     TEXT NOT NULL,
	fingerprint TEXT NOT NULL,
	state       TEXT NOT NULL,
	n           BIGINT NOT NULL,
	PRIMARY KEY (handler, fingerprint, state)
) WITH (fillfactor = 50); -- its rows change all the time

-- Once a statement, in the order of the key: one statement takes each row once,
-- and two that run side by side take them in the same order.
-- +goose StatementBegin
CREATE FUNCTION dead_letter_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'INSERT' THEN
		INSERT INTO dead_count AS c (handler, fingerprint, state, n)
		SELECT handler, fingerprint, state, count(*) FROM fresh GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
		ON CONFLICT (handler, fingerprint, state) DO UPDATE SET n = c.n + excluded.n;
	ELSIF TG_OP = 'UPDATE' THEN
		INSERT INTO dead_count AS c (handler, fingerprint, state, n)
		SELECT handler, fingerprint, state, sum(n) FROM (
			SELECT handler, fingerprint, state, 1 AS n FROM fresh UNION ALL SELECT handler, fingerprint, state, -1 FROM stale
		) x GROUP BY 1, 2, 3 HAVING sum(n) <> 0 ORDER BY 1, 2, 3
		ON CONFLICT (handler, fingerprint, state) DO UPDATE SET n = c.n + excluded.n;
	ELSE
		INSERT INTO dead_count AS c (handler, fingerprint, state, n)
		SELECT handler, fingerprint, state, -count(*) FROM stale GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
		ON CONFLICT (handler, fingerprint, state) DO UPDATE SET n = c.n + excluded.n;
		DELETE FROM dead_original USING stale WHERE dead_original.id = stale.id;
		DELETE FROM dead_copy c USING stale s
		WHERE c.handler = s.handler AND c.message = s.message AND (s.twin = '' OR c.copy = s.twin);
		RETURN NULL;
	END IF;
	INSERT INTO dead_group AS g (handler, fingerprint, reason, error_type, error, note, first_at, last_at)
	SELECT handler, fingerprint, max(reason), max(error_type), (array_agg(error ORDER BY id DESC))[1], '', min(first_at), max(last_at)
	FROM fresh GROUP BY 1, 2 ORDER BY 1, 2
	ON CONFLICT (handler, fingerprint) DO UPDATE SET error = excluded.error,
		first_at = least(g.first_at, excluded.first_at), last_at = greatest(g.last_at, excluded.last_at);
	RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER dead_letter_insert AFTER INSERT ON dead_letter
	REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION dead_letter_change();
CREATE TRIGGER dead_letter_update AFTER UPDATE ON dead_letter
	REFERENCING OLD TABLE AS stale NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION dead_letter_change();
CREATE TRIGGER dead_letter_delete AFTER DELETE ON dead_letter
	REFERENCING OLD TABLE AS stale FOR EACH STATEMENT EXECUTE FUNCTION dead_letter_change();

-- +goose Down
DROP TABLE dead_letter;
DROP TABLE dead_copy;
DROP TABLE dead_original;
DROP TABLE dead_group;
DROP TABLE dead_count;
DROP FUNCTION dead_letter_change;
