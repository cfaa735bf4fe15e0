// Package disktest is a disk for tests that loses its power: a file system in
// memory, mounted with FUSE, that remembers only what was made durable.
//
// What is written, cut short, made, renamed or deleted is seen by everybody at
// once, as on any disk. Cut forgets it, unless an fsync or fdatasync has made
// it durable: of the file for its bytes and size, of the folder for the names
// in it. That is what POSIX promises and no more; most file systems keep more,
// but none has to. A file's fsync does not keep its name.
//
// A real disk may have written any part of what was not synced. Cut can do
// that, too: it keeps some sectors and some folders, by chance.
//
// The process that serves the mount must not start another one in a folder on
// it, nor map a file of it into its memory: either can stop the Go scheduler,
// which the answer needs. So tests leave SQLite on this disk to other
// processes.
package disktest
