package routerconfig_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// update writes the golden files and docs anew: go test ./routerconfig -update.
var update = flag.Bool("update", false, "write golden files and docs anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
