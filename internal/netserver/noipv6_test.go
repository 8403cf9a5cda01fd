//go:build linux

package netserver

import (
	"os"
	"os/exec"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Where the kernel has no IPv6, all addresses are all of IPv4, however that is written: the
// configuration that init writes and the one without any address have [::].
func TestKernelWithoutIPv6(t *testing.T) {
	const without = "TEST_WITHOUT_IPV6"
	if os.Getenv(without) == "" {
		c := exec.Command(os.Args[0], "-test.run=^TestKernelWithoutIPv6$", "-test.v")
		c.Env = append(os.Environ(), without+"=1")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	forbidIPv6(t)
	if fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0); err != unix.EAFNOSUPPORT {
		t.Fatalf("socket %d, %v", fd, err)
	}
	s, _ := newIdle(t)
	for i, url := range []string{":0", "*:0", "[::]:0"} {
		if _, err := s.Listen(t.Context(), url); err != nil {
			t.Fatal(err)
		}
		if addrs := s.Listeners()[i].Addrs; len(addrs) != 1 || !addrs[0].Addr().Is4() {
			t.Errorf("%s is %v", url, addrs)
		}
	}
}

// forbidIPv6 makes this process's kernel one that has none.
func forbidIPv6(t *testing.T) {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	unless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: skip}
	}
	answer := func(value uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: value}
	}
	filter := []unix.SockFilter{ // of struct seccomp_data: nr, and the low half of the first argument
		load(0), unless(unix.SYS_SOCKET, 3),
		load(16), unless(unix.AF_INET6, 1),
		answer(unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)),
		answer(unix.SECCOMP_RET_ALLOW),
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program))); errno != 0 {
		t.Fatal(errno)
	}
}
