package operation

import (
	"os"
	"os/exec"
	"path/filepath"
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
		"ckpool.service": "ckpool.service", "ckpool@.service": "ckpool@test.service", "ckpool.socket": "ckpool.socket",
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

func TestLogrotate(t *testing.T) {
	rotate, err := exec.LookPath("logrotate")
	if err != nil {
		t.Skip("no logrotate here")
	}
	out, err := exec.Command(rotate, "-d", filepath.Join(contrib, "logrotate", "ckpool")).CombinedOutput()
	if err != nil || strings.Contains(string(out), "error:") {
		t.Errorf("%v\n%s", err, out)
	}
}
