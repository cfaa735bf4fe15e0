//go:build unix

package trial

import "syscall"

// ownGroup keeps Ctrl-C, which goes to a whole group, from the clients: when
// they stop is ours to say.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
