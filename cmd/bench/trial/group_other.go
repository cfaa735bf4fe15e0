//go:build !unix

package trial

import "syscall"

// ownGroup is nothing here.
func ownGroup() *syscall.SysProcAttr { return nil }
