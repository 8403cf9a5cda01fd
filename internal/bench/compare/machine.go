package compare

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is what figures depend on.
type Machine struct {
	Processor string
	CPUs      int
	Memory    uint64 // bytes
	System    string
	Go        string
	Revision  string // of this program
	Load      string // at the start, of one minute
}

func describeMachine() Machine {
	m := Machine{CPUs: runtime.NumCPU(), Go: runtime.Version(), Processor: processor(), Revision: revision()}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.Memory = uint64(info.Totalram) * uint64(info.Unit)
		m.Load = fmt.Sprintf("%.1f", float64(info.Loads[0])/(1<<16))
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.System = unix.ByteSliceToString(name.Sysname[:]) + " " + unix.ByteSliceToString(name.Release[:])
	}
	return m
}

func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for l := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return info.Main.Version
}

func (m Machine) String() string {
	return fmt.Sprintf("%d × %s, %.0f GB, %s, %s, revision %s, load %s at the start", m.CPUs, m.Processor,
		float64(m.Memory)/1e9, m.System, m.Go, m.Revision, m.Load)
}

// mostMiners is how many miners the pool takes with the limit of open files
// that it and this program have, a hundred less for whatever else there is.
func mostMiners() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	const plenty = 100_000
	return int(min(limit.Cur/10*9-100, plenty))
}
