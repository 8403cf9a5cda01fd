package operation

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What make install puts where: no configuration that would be used as it is, units that find the
// programs, and nothing in the place of what the operator has changed.
func TestInstall(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("no make here")
	}
	dir := t.TempDir()
	c := exec.Command("make", "-s", "install", "DESTDIR="+dir, "PREFIX=/opt/pool", "SYSCONFDIR=/etc")
	c.Dir = "../.."
	changed := filepath.Join(dir, "/etc/logrotate.d/ckpool")
	if err := errors.Join(os.MkdirAll(filepath.Dir(changed), 0o755), os.WriteFile(changed, []byte("rotate 99"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if text, err := os.ReadFile(changed); string(text) != "rotate 99" {
		t.Errorf("%s is %q, %v", changed, text, err)
	}
	var got []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			got = append(got, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/etc/logrotate.d/ckpool",
		"/opt/pool/bin/ckproxy",
		"/opt/pool/lib/systemd/system/ckdb.service",
		"/opt/pool/lib/systemd/system/ckpool.service",
		"/opt/pool/lib/systemd/system/ckpool.socket",
		"/opt/pool/lib/systemd/system/ckpool@.service",
		"/opt/pool/lib/sysusers.d/ckpool.conf",
		"/opt/pool/share/man/man5/ckpool.conf.5",
		"/opt/pool/share/doc/ckpool/ckpool.conf",
		"/opt/pool/share/doc/ckpool/notify-reload.conf",
	}
	for _, program := range documented {
		want = append(want, "/opt/pool/bin/"+program, "/opt/pool/share/man/man1/"+program+".1",
			"/opt/pool/share/bash-completion/completions/"+program, "/opt/pool/share/zsh/site-functions/_"+program)
	}
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		want = append(want, "/opt/pool/share/doc/ckpool/"+filepath.Base(page))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("installed\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if to, err := os.Readlink(filepath.Join(dir, "/opt/pool/bin/ckproxy")); to != "ckpool" {
		t.Errorf("ckproxy is %q, %v", to, err)
	}
	unit, err := os.ReadFile(filepath.Join(dir, "/opt/pool/lib/systemd/system/ckpool.service"))
	if err != nil || !strings.Contains(string(unit), "ExecStart=/opt/pool/bin/ckpool ") || strings.Contains(string(unit), "/usr/local") {
		t.Errorf("%v\n%s", err, unit)
	}
}

// Under sudo there may be no Go in the PATH, or that of the distribution, which cannot build this:
// what is installed then is what was built before.
func TestInstallWithoutGo(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("no make here")
	}
	for program, builds := range map[string]bool{"go": true, "false": false, "/nowhere/go": false} {
		c := exec.Command("make", "-n", "install", "GO="+program)
		c.Dir = "../.."
		out, err := c.CombinedOutput()
		if err != nil || strings.Contains(string(out), program+" build ") != builds {
			t.Errorf("with GO=%s: %v\n%s", program, err, out)
		}
	}
}

// The programs of the image tell their revision, which go build reads from .git.
func TestImageHasRevision(t *testing.T) {
	ignored, err := os.ReadFile("../../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(strings.Fields(string(ignored)), ".git") {
		t.Error("the image is built without .git")
	}
}

// What the documentation has people write beside the source is theirs: passwords are in it. It is
// not to be committed, nor in the image, and programs that are built beside it are of the same version.
func TestOwnFilesAreIgnored(t *testing.T) {
	if err := exec.Command("git", "-C", "../..", "rev-parse").Run(); err != nil {
		t.Skip("this is no checkout")
	}
	ignored, err := os.ReadFile("../../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	for file, pattern := range map[string]string{
		"ckpool.conf": "*.conf", "ckproxy.conf": "*.conf", "contrib/ckpool.conf": "contrib/ckpool.conf", "contrib/.env": "contrib/.env",
		"ckdb.sql": "*.sql", "contrib/ckdb.sql": "contrib/*.sql",
	} {
		if err := exec.Command("git", "-C", "../..", "check-ignore", "-q", file).Run(); err != nil {
			t.Errorf("%s: git does not ignore it", file)
		}
		if !slices.Contains(strings.Fields(string(ignored)), pattern) {
			t.Errorf("%s: the image is built with it", file)
		}
	}
}
