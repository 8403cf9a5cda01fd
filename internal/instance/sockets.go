package instance

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Listens tells whether what listens on addr, or on an address that keeps
// another program from listening there, is all of the given processes or of
// those they have started. An error says why it cannot be known: /proc shows open
// files to their owner and to root only. It is ErrNobody where nobody is seen to
// listen.
func Listens(addr netip.AddrPort, pids ...int) (bool, error) {
	return processes("/proc").listens(addr, pids)
}

// ErrNobody is said of an address that nobody is seen to listen on.
var ErrNobody = errors.New("nobody listens there")

// processes is where the kernel shows them.
type processes string

func (p processes) listens(addr netip.AddrPort, pids []int) (bool, error) {
	listening, err := lookAgain(func() (map[uint64]bool, error) { return p.listeningOn(addr) })
	if err == nil && len(listening) == 0 {
		err = ErrNobody
	}
	if err != nil {
		return false, err
	}
	all, err := p.withChildren(pids)
	if err != nil {
		return false, err
	}
	var hidden error
	for i, pid := range all {
		err := p.forget(listening, pid)
		if errors.Is(err, fs.ErrNotExist) && i >= len(pids) {
			continue // a child that has ended
		}
		if err != nil && hidden == nil {
			hidden = err
		}
	}
	if len(listening) > 0 {
		return false, hidden
	}
	return true, nil
}

// looks is how often the tables of sockets are read before nobody listens. The
// kernel gives them a page at a time, and one page may begin behind a socket that
// was to be its first when others came or went meanwhile.
const looks = 5

// lookAgain looks until something is seen, looks times at most.
func lookAgain(look func() (map[uint64]bool, error)) (inodes map[uint64]bool, err error) {
	for range looks {
		if inodes, err = look(); err != nil || len(inodes) > 0 {
			break
		}
	}
	return inodes, err
}

// listeningOn are the inodes of the sockets that listen where addr is.
func (p processes) listeningOn(addr netip.AddrPort) (inodes map[uint64]bool, err error) {
	inodes = map[uint64]bool{}
	for _, table := range []string{"tcp", "tcp6"} {
		f, err := os.Open(filepath.Join(string(p), "net", table))
		if errors.Is(err, fs.ErrNotExist) && table == "tcp6" {
			continue // a machine without IPv6
		}
		if err != nil {
			return nil, err
		}
		err = readListening(f, func(at netip.AddrPort, inode uint64) {
			if at.Port() == addr.Port() && collide(at.Addr(), addr.Addr()) {
				inodes[inode] = true
			}
		})
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	return inodes, nil
}

// collide tells whether a socket on one address may keep another from the other.
func collide(a, b netip.Addr) bool {
	all := netip.IPv6Unspecified()
	return a == b || a == all || b == all || a.Is4() == b.Is4() && (a.IsUnspecified() || b.IsUnspecified())
}

// stateListen is TCP_LISTEN of the kernel, as its tables show it.
const stateListen = "0A"

// readListening reads /proc/net/tcp or tcp6 (proc(5)): a heading, then a line
// for each socket, of which found is called with those that listen.
func readListening(r io.Reader, found func(at netip.AddrPort, inode uint64)) error {
	lines := bufio.NewScanner(r)
	lines.Scan() // the heading
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 {
			return fmt.Errorf("line %q: too short", lines.Text())
		}
		if f[3] != stateListen {
			continue
		}
		at, err := readAddress(f[1])
		if err != nil {
			return fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		inode, err := strconv.ParseUint(f[9], 10, 64)
		if err != nil {
			return fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		found(at, inode)
	}
	return lines.Err()
}

// readAddress reads address:port, both hexadecimal: the address as one number of
// 32 bits for IPv4 and four for IPv6, each in the machine's byte order over that
// of the network, the port as a number.
func readAddress(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	b, err := hex.DecodeString(host)
	if err == nil && len(b) != 4 && len(b) != 16 {
		err = fmt.Errorf("address of %d bytes", len(b))
	}
	if err != nil {
		return netip.AddrPort{}, err
	}
	for word := range slices.Chunk(b, 4) {
		binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32(word))
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
}

// withChildren adds the processes that the given ones have started, and theirs:
// ckpool in C was several until 2015.
func (p processes) withChildren(pids []int) ([]int, error) {
	entries, err := os.ReadDir(string(p))
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(string(p), e.Name(), "stat"))
		if err != nil {
			continue // it has ended
		}
		// "pid (name) state parent …", where the name may be anything.
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(f) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(f[1]); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	all := slices.Clone(pids)
	for i := 0; i < len(all); i++ {
		for _, child := range children[all[i]] {
			if !slices.Contains(all, child) {
				all = append(all, child)
			}
		}
	}
	return all, nil
}

// forget takes out the sockets that the process has open.
func (p processes) forget(inodes map[uint64]bool, pid int) error {
	dir := filepath.Join(string(p), strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		file, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // closed by now
		}
		number, isSocket := strings.CutPrefix(file, "socket:[")
		if inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64); isSocket && err == nil {
			delete(inodes, inode)
		}
	}
	return nil
}
