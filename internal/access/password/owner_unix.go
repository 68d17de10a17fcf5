//go:build unix

package password

import (
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives f the owner that the file had. Only root can, and only root needs to.
func keepOwner(f *os.File, old fs.FileInfo) {
	if st, ok := old.Sys().(*syscall.Stat_t); ok {
		_ = f.Chown(int(st.Uid), int(st.Gid))
	}
}
