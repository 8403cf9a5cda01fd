package operation

import (
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const contrib = "../../contrib"

// The unit files mean something to systemd, all of them and each line.
func TestUnits(t *testing.T) {
	verifier, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here")
	}
	dir := t.TempDir()
	var units []string
	for name, instance := range map[string]string{
		"ckpool.service": "ckpool.service", "ckpool@.service": "ckpool@test.service", "ckpool.socket": "ckpool.socket", "ckdb.service": "ckdb.service",
	} {
		text, err := os.ReadFile(filepath.Join(contrib, "systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		installed := strings.ReplaceAll(string(text), "/usr/local/bin", programs)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(installed), 0o600); err != nil {
			t.Fatal(err)
		}
		units = append(units, filepath.Join(dir, instance))
	}
	out, err := exec.Command(verifier, append([]string{"verify", "--man=no"}, units...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// Go asks the system for the interface of [fe80::1%eth0] over a socket of netlink.
func TestUnitsKnowInterfaces(t *testing.T) {
	units, err := filepath.Glob(filepath.Join(contrib, "systemd", "*.service"))
	if err != nil || len(units) == 0 {
		t.Fatalf("%v, %v", units, err)
	}
	for _, name := range units {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`(?m)^RestrictAddressFamilies=.*\bAF_NETLINK\b`).Match(text) {
			t.Errorf("%s does not allow it", name)
		}
	}
}

// A pool is started again however often it fails. What it leaves in its directory for temporary
// files, such as a block that nobody took, is there when it has ended, as a private /tmp is not.
func TestUnitsGoOn(t *testing.T) {
	for name, dir := range map[string]string{"ckpool.service": "ckpool", "ckpool@.service": "ckpool/%i"} {
		text, err := os.ReadFile(filepath.Join(contrib, "systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"StartLimitIntervalSec=0", "RuntimeDirectory=" + dir, "RuntimeDirectoryPreserve=yes", "Environment=TMPDIR=/run/" + dir} {
			if !strings.Contains(string(text), "\n"+line+"\n") {
				t.Errorf("%s has no %s", name, line)
			}
		}
	}
}

func TestLogrotate(t *testing.T) {
	rotate, err := exec.LookPath("logrotate")
	if err != nil {
		t.Skip("no logrotate here")
	}
	text, err := os.ReadFile(filepath.Join(contrib, "logrotate", "ckpool"))
	if err != nil {
		t.Fatal(err)
	}
	// The user ckpool need not be here; nothing is rotated.
	dir := t.TempDir()
	log := filepath.Join(dir, "logs", "ckpool.log")
	if err := errors.Join(os.Mkdir(filepath.Dir(log), 0o700), os.WriteFile(log, []byte("line\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	self, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(self.Gid)
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("/var/lib/ckpool*", dir, "su ckpool ckpool", "su "+self.Username+" "+group.Name).Replace(string(text))
	file := filepath.Join(dir, "rotate")
	if err := os.WriteFile(file, []byte(here), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(rotate, "-d", "-f", "-s", filepath.Join(dir, "state"), file).CombinedOutput()
	if err != nil || strings.Contains(string(out), "error:") || !strings.Contains(string(out), log) {
		t.Errorf("%v\n%s", err, out)
	}
}
