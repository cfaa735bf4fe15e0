// Package rule runs the conditions and transforms that a config holds: short
// expressions in the language of expr-lang.org over JSON, with exact numbers.
//
//	p, err := rule.CompileBool(`line.type == "lens" and line.quantity > 1`, "line", "order")
//	yes, err := p.Bool(map[string]any{"line": line, "order": rule.NewLazy(payload)})
//
// # Values
//
// An expression sees JSON: nil, bool, string, Decimal, []any and
// map[string]any. Decode makes such a tree of a document; NewLazy wraps a
// document that is only decoded where the expression looks at it, which is
// the cheaper way to ask for one member of a large message. Encode writes a
// result back as JSON.
//
// # Where the language differs from plain expr
//
//   - Numbers are exact decimals: 0.1 + 0.2 == 0.3, and 12345678901234567890
//     keeps its last digit. Literals are decimals too. Only a quotient can be
//     rounded: to 34 digits, half to even.
//   - A missing member is nil, and so is a member of nil and an element beyond
//     the end: line.frame.color == nil is true for a line without a frame.
//   - Equality never fails: values of different types are not equal. Order
//     (< <= > >=) does: it compares numbers, or text, and nothing else.
//   - "and", "or", "not" and the conditions of all, any, filter and the like
//     take true and false only; nil is neither.
//   - A rule is a pure function of its message: there is no now(), and what
//     would iterate in random order is sorted. Not available are therefore,
//     and for want of bounds, functions that are not in the list below; nor
//     are methods, **, and patterns for "matches" that are not literals.
//
// Functions: all any none one filter map find findIndex findLast
// findLastIndex count reduce sum; len first last take reverse concat keys
// values sort; abs ceil floor round min max int decimal; type string trim
// trimPrefix trimSuffix upper lower split replace join indexOf lastIndexOf
// hasPrefix hasSuffix; toJSON fromJSON; get.
//
// # Bounds
//
// Messages come from strangers. Whatever they hold, a run ends with a value
// or an error: it takes at most a million steps of loops, makes at most a
// million elements, text of at most 1 MiB, and numbers of at most 1,000
// digits. Nothing in here panics.
package rule
