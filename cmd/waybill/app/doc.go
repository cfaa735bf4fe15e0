// Package app puts Waybill together: it is the one package that knows every
// other. A program with handler kinds of its own is
//
//	func main() {
//		os.Exit(app.Main(app.Options{Kinds: handlers.Builtin().With(mine)}))
//	}
//
// App is the running process (New, Start, Stop, Run); app.go reads from top to
// bottom as the architecture. The command line is here too, a file for each
// subcommand, because such programs want all of it.
package app
