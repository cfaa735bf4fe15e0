-- +goose Up
-- Triggers that kept the sizes cost more than a third of an append. The index
-- tells them too, when the log is trimmed: once a minute at most.
DROP TRIGGER message_log_insert;
DROP TRIGGER message_log_update;
DROP TRIGGER message_log_delete;
DROP TABLE log_size;
DROP INDEX message_log_state;
CREATE INDEX message_log_state ON message_log (state, at, id, kept);
CREATE VIEW log_size AS SELECT state, sum(kept) AS bytes FROM message_log GROUP BY state;
