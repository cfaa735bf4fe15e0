-- +goose Up
ALTER TABLE delayed ADD COLUMN part INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delayed ADD COLUMN place INTEGER NOT NULL DEFAULT -1;
ALTER TABLE delayed ADD COLUMN rounds INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delayed ADD COLUMN replays INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delayed ADD COLUMN parked INTEGER NOT NULL DEFAULT 0; -- 1: never due, ready_at is out of reach
ALTER TABLE delayed ADD COLUMN letter INTEGER NOT NULL DEFAULT 0; -- the dead letter whose replay it is; 0: none
ALTER TABLE delayed ADD COLUMN long_message TEXT NOT NULL DEFAULT ''; -- the whole id, where message is its hash
ALTER TABLE delayed ADD COLUMN long_key TEXT NOT NULL DEFAULT '';     -- likewise
CREATE INDEX delayed_parked ON delayed (handler, message, id) WHERE parked = 1;

-- +goose Down
DROP INDEX delayed_parked;
ALTER TABLE delayed DROP COLUMN long_key;
ALTER TABLE delayed DROP COLUMN long_message;
ALTER TABLE delayed DROP COLUMN letter;
ALTER TABLE delayed DROP COLUMN parked;
ALTER TABLE delayed DROP COLUMN replays;
ALTER TABLE delayed DROP COLUMN rounds;
ALTER TABLE delayed DROP COLUMN place;
ALTER TABLE delayed DROP COLUMN part;
