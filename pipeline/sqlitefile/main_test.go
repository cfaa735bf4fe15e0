package sqlitefile

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// openEnv has this test binary open a file, say so, and hold it: it is how the
// tests get another process.
const openEnv = "SQLITEFILE_TEST_OPEN"

func TestMain(m *testing.M) {
	if path := os.Getenv(openEnv); path != "" {
		f, err := Open(path, Options{})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("open")
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the test is done with it
		_ = f.Close()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
