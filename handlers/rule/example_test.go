package rule_test

import (
	"fmt"

	"github.com/waybill-dev/waybill/handlers/rule"
)

// A condition over an order that came in as bytes, and a transform of it.
func Example() {
	order := []byte(`{"id":"A1","total":0.30,"lines":[{"sku":"L-1","price":0.10},{"sku":"F-1","price":0.20}]}`)
	env := map[string]any{"order": rule.NewLazy(order)}

	adds, _ := rule.CompileBool(`sum(order.lines, .price) == order.total`, "order")
	fmt.Println(adds.Bool(env))

	short, _ := rule.Compile(`{"id": order.id, "skus": map(order.lines, .sku)}`, "order")
	value, _ := short.Eval(env)
	text, _ := rule.Encode(value)
	fmt.Println(string(text))

	_, err := rule.CompileBool(`ordr.total > 1`, "order")
	fmt.Println(err)
	// Output:
	// true <nil>
	// {"id":"A1","skus":["L-1","F-1"]}
	// 1:1: unknown name ordr: values here are order
}
