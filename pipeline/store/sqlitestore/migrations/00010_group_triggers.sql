-- +goose Up
-- A letter that only moves changes the counts, not its group: most updates are
-- such moves, and each statement of a trigger costs as much as the update.
DROP TRIGGER dead_letter_update;
-- +goose StatementBegin
CREATE TRIGGER dead_letter_moved AFTER UPDATE OF state, fingerprint ON dead_letter
WHEN OLD.state <> NEW.state OR OLD.fingerprint <> NEW.fingerprint BEGIN
	UPDATE dead_count SET n = n - 1 WHERE handler = OLD.handler AND fingerprint = OLD.fingerprint AND state = OLD.state;
	INSERT INTO dead_count (handler, fingerprint, state, n) VALUES (NEW.handler, NEW.fingerprint, NEW.state, 1)
		ON CONFLICT (handler, fingerprint, state) DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER dead_letter_died AFTER UPDATE OF fingerprint, last_at ON dead_letter BEGIN
	INSERT INTO dead_group (handler, fingerprint, reason, error_type, error, note, first_at, last_at)
		VALUES (NEW.handler, NEW.fingerprint, NEW.reason, NEW.error_type, NEW.error, '', NEW.first_at, NEW.last_at)
		ON CONFLICT (handler, fingerprint) DO UPDATE SET error = excluded.error,
			first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at);
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER dead_letter_moved;
DROP TRIGGER dead_letter_died;
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
