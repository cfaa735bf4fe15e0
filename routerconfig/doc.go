// Package routerconfig turns a YAML file into a pipeline.Pipeline: plain,
// checked values with every default filled in. What is wrong with a file is
// told all at once, each fault with line, column and what to do.
//
//	loaded, err := routerconfig.Load("waybill.yaml", routerconfig.Options{Kinds: kinds})
//	var findings routerconfig.Findings
//	if errors.As(err, &findings) { … }  // findings.Error() has one a line
//	run(loaded.Pipeline)
//
// # The way of a file
//
//		text ─ parse ─► nodes ─ --set ─► nodes ─ decode ─► config ─ check ─► config ─ compile ─► Pipeline
//		                                                                       └─ encode ─► Echo
//
//	  - parse reads YAML into nodes, each with its place: anchors and merges are
//	    resolved, ${VAR} is expanded in scalars. Expanding comes after parsing,
//	    so that no variable can change the file's structure.
//	  - --set puts values into the nodes, before anything looks at them.
//	  - decode sets the config structs from the nodes, strictly: unknown keys,
//	    wrong types, bounds and choices. The structs have their defaults before;
//	    what a file says wins over them.
//	  - check knows the rules that no single key can tell, such as that topics
//	    exist, and fills in the defaults that hang on other keys.
//	  - compile makes the pipeline's values, with a version for the whole and
//	    for each handler: a hash of the echo, so that secrets and spelling do
//	    not change it. lint then adds warnings.
//
// Every stage goes on after a fault. The report keeps a fault from being told
// twice: a key that is blamed once gets no second error, and neither does what
// is in it.
//
// # The grammar
//
// The structs are the grammar: their fields' tags name the keys and say what
// they mean, and Schema and Reference are made from them. See field for the
// tags. docs/config.md is the result.
//
// Kinds bring a part of their own. NewConfig returns a pointer to a struct
// with the kind's defaults, which is decoded from `with:` and tagged in the
// same way; no code of the kind's is needed but, where keys depend on each
// other, Validate. A field of type pipeline.Secret `x` can be given as `x_file`
// too, without the kind knowing. Types that read themselves from text implement
// encoding.TextUnmarshaler (and TextMarshaler for the echo); types of more than
// one form implement UnmarshalYAML(func(any) error) (and MarshalYAML). Elements
// of lists and maps have SetDefaults called, if they have it. Leave omitempty
// to keys whose default is the zero value.
//
// # Paths
//
// The data folder starts in the working directory, like the arguments of a
// command. The files of embedded brokers start in the data folder. All other
// paths start in the folder of the config file.
package routerconfig
