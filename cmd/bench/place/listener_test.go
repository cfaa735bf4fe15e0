package place

import (
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestListener_FindsTheProcess(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/net/tcp"); err != nil {
		require.Zero(t, listener("127.0.0.1:1"), "no /proc here: nobody is found")
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	require.Equal(t, os.Getpid(), listener(l.Addr().String()))
	require.Zero(t, listener("192.0.2.1:5672"), "another machine's")
	require.Zero(t, listener("nonsense"))
}
