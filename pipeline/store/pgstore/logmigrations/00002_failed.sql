-- +goose Up
-- What is not completed, newest first, without reading what is.
CREATE INDEX message_log_failed ON message_log (state, id) WHERE state <> 'COMPLETED';

-- +goose Down
DROP INDEX message_log_failed;
