-- +goose Up
-- A letter that only moves, or has a note, changes the counts, not its group:
-- whose error is that of the letter that died last.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION dead_letter_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'INSERT' THEN
		INSERT INTO dead_count AS c (handler, fingerprint, state, n)
		SELECT handler, fingerprint, state, count(*) FROM fresh GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
		ON CONFLICT (handler, fingerprint, state) DO UPDATE SET n = c.n + excluded.n;
		INSERT INTO dead_group AS g (handler, fingerprint, reason, error_type, error, note, first_at, last_at)
		SELECT handler, fingerprint, max(reason), max(error_type), (array_agg(error ORDER BY id DESC))[1], '', min(first_at), max(last_at)
		FROM fresh GROUP BY 1, 2 ORDER BY 1, 2
		ON CONFLICT (handler, fingerprint) DO UPDATE SET error = excluded.error,
			first_at = least(g.first_at, excluded.first_at), last_at = greatest(g.last_at, excluded.last_at);
	ELSIF TG_OP = 'UPDATE' THEN
		INSERT INTO dead_count AS c (handler, fingerprint, state, n)
		SELECT handler, fingerprint, state, sum(n) FROM (
			SELECT handler, fingerprint, state, 1 AS n FROM fresh UNION ALL SELECT handler, fingerprint, state, -1 FROM stale
		) x GROUP BY 1, 2, 3 HAVING sum(n) <> 0 ORDER BY 1, 2, 3
		ON CONFLICT (handler, fingerprint, state) DO UPDATE SET n = c.n + excluded.n;
		INSERT INTO dead_group AS g (handler, fingerprint, reason, error_type, error, note, first_at, last_at)
		SELECT handler, fingerprint, max(reason), max(error_type), (array_agg(error ORDER BY id DESC))[1], '', min(first_at), max(last_at)
		FROM (
			SELECT id, handler, fingerprint, reason, error_type, error, first_at, last_at FROM fresh
			EXCEPT SELECT id, handler, fingerprint, reason, error_type, error, first_at, last_at FROM stale
		) died GROUP BY 1, 2 ORDER BY 1, 2
		ON CONFLICT (handler, fingerprint) DO UPDATE SET error = excluded.error,
			first_at = least(g.first_at, excluded.first_at), last_at = greatest(g.last_at, excluded.last_at);
	ELSE
		INSERT INTO dead_count AS c (handler, fingerprint, state, n)
		SELECT handler, fingerprint, state, -count(*) FROM stale GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
		ON CONFLICT (handler, fingerprint, state) DO UPDATE SET n = c.n + excluded.n;
		DELETE FROM dead_original USING stale WHERE dead_original.id = stale.id;
		DELETE FROM dead_copy c USING stale s
		WHERE c.handler = s.handler AND c.message = s.message AND (s.twin = '' OR c.copy = s.twin);
	END IF;
	RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION dead_letter_change() RETURNS trigger LANGUAGE plpgsql AS $$
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
