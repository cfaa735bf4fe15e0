// Package sqlitefile opens one SQLite file once a process and gives it one
// writer with group commit.
//
// SQLite allows one writer at a time and pays an fsync a commit. So all
// writes of the process go through one goroutine, which runs as many as are
// waiting in one transaction and answers them together once it is committed:
// under load the fsync is shared by hundreds of writes, alone it costs one.
// Readers have connections of their own and never wait for the writer (WAL).
//
// Durability: journal_mode=WAL and synchronous=FULL, so what Write has
// answered survives a power loss, on disks that do as they say.
//
// The file is locked against other processes; within the process, opening it
// again gives the same one.
package sqlitefile
