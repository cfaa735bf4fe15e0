// Package sqlstore is the part of the SQL stores that is the same in SQLite and
// PostgreSQL: statements that both understand, with their parameters as $1, and
// the code around them. A driver opens its database, brings the tables up to
// date (with triggers that keep the counts of groups), runs transactions, and
// gives a Dialect for the few expressions that differ.
//
// Columns are BIGINT, TEXT and bytes only. Times are Unix microseconds, 0 for
// none; truth is 0 or 1. Text that comes from outside may be no text at all:
// see encodeText.
package sqlstore
