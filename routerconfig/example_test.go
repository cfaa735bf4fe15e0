package routerconfig_test

import (
	"errors"
	"fmt"

	"github.com/waybill-dev/waybill/routerconfig"
)

// All that is wrong with a file is told at once.
func ExampleLoadBytes() {
	_, err := routerconfig.LoadBytes("waybill.yaml", []byte(`
brokers:
  main: {driver: embedded}
topics:
  orders: {}
handlers:
  copy: {kind: copy, from: order, timeout: 10}
`), routerconfig.Options{Kinds: testKinds()})

	var findings routerconfig.Findings
	if errors.As(err, &findings) {
		for _, f := range findings {
			fmt.Println(f)
		}
	}
	// Output:
	// waybill.yaml:7:28: handlers.copy.from: there is no topic "order" (did you mean "orders"?)
	// waybill.yaml:7:44: handlers.copy.timeout: a duration is needed, not 10 (write for example 500ms, 30s, 1h30m or 7d)
}
