package btcd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// module is where btcd is pinned, below the root of this module.
const module = "tools/btcd"

// Build returns the path of the btcd binary, building it from the pinned module
// the first time. It is kept in the user's cache directory; a lock file lets
// parallel callers, also in other processes, build it once.
func Build(ctx context.Context) (string, error) {
	dir, path, err := binary()
	if err != nil {
		return "", err
	}
	if isFile(path) {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", fmt.Errorf("build btcd: %w", err)
	}
	unlock, err := lock(path + ".lock")
	if err != nil {
		return "", fmt.Errorf("build btcd: %w", err)
	}
	defer unlock()
	if isFile(path) {
		return path, nil
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path+".new", "github.com/btcsuite/btcd")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off", "GO111MODULE=on")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build btcd in %s: %w: %s", dir, err, bytes.TrimSpace(out))
	}
	if err := os.Rename(path+".new", path); err != nil {
		return "", fmt.Errorf("build btcd: %w", err)
	}
	return path, nil
}

// Built tells that Build will not take long.
func Built() bool {
	_, path, err := binary()
	return err == nil && isFile(path)
}

// binary is the directory of the pinned module and the path of what it becomes.
func binary() (dir, path string, err error) {
	if dir, err = moduleDir(); err != nil {
		return "", "", err
	}
	version, sum, err := pinned(dir)
	if err != nil {
		return "", "", fmt.Errorf("build btcd: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	return dir, filepath.Join(cache, "ckpool-testkit", "btcd-"+version+"-"+sum), nil
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}

// moduleDir finds the pinning module from the working directory (tests, make)
// or from the running binary (bin/ckbench) upwards.
func moduleDir() (string, error) {
	var starts []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	for _, dir := range starts {
		for ; ; dir = filepath.Dir(dir) {
			if d := filepath.Join(dir, module); isFile(filepath.Join(d, "go.mod")) {
				return d, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", fmt.Errorf("%s/go.mod not found above the working directory or the program: run it inside the source tree", module)
}

// pinned reads the version of btcd and a short sum of everything that decides
// what is built.
func pinned(dir string) (version, sum string, err error) {
	h := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", "", err
		}
		h.Write(b)
		for sc := bufio.NewScanner(bytes.NewReader(b)); name == "go.mod" && sc.Scan(); {
			f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(sc.Text()), "require "))
			if len(f) >= 2 && f[0] == "github.com/btcsuite/btcd" {
				version = f[1]
			}
		}
	}
	if version == "" {
		return "", "", errors.New("no version of github.com/btcsuite/btcd in " + dir)
	}
	fmt.Fprint(h, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return version, fmt.Sprintf("%x", h.Sum(nil)[:6]), nil
}

// lock takes an exclusive lock on a file, which the kernel drops when the
// process ends.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
