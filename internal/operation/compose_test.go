package operation

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const compose = contrib + "/docker-compose.yml"

// Docker understands the file, and all that it mounts is there but for the configuration,
// which its user writes.
func TestCompose(t *testing.T) {
	if err := exec.Command("docker", "compose", "version").Run(); err != nil {
		t.Skip("docker compose is not there:", err)
	}
	read := func(environment ...string) ([]byte, error) {
		c := exec.Command("docker", "compose", "--profile", "node", "-f", compose, "config", "--format", "json")
		c.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.Contains(v, "_PASSWORD=") || strings.HasPrefix(v, "COMPOSE_") }), environment...)
		return c.Output()
	}
	text, err := read("POSTGRES_PASSWORD=one", "GRAFANA_PASSWORD=two")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct {
			Command, Entrypoint []string
			Environment         map[string]string
			Volumes             []struct{ Type, Source, Target string }
			Ports               []struct {
				HostIP    string `json:"host_ip"`
				Published string
			}
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name, s := range file.Services {
		names = append(names, name)
		for _, v := range s.Volumes {
			if _, err := os.Stat(v.Source); v.Type == "bind" && err != nil && filepath.Base(v.Source) != "ckpool.conf" {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, p := range s.Ports { // what has no business outside
			if p.HostIP != "127.0.0.1" && p.Published != "3333" && p.Published != "8333" {
				t.Errorf("%s: port %s is open to everybody", name, p.Published)
			}
		}
	}
	slices.Sort(names)
	if want := []string{"ckdb", "grafana", "node", "pool", "postgres", "prometheus"}; !slices.Equal(names, want) {
		t.Errorf("services %q, want %q", names, want)
	}
	if got := file.Services["ckdb"].Environment["PGPASSWORD"]; got != "one" {
		t.Errorf("the password of ckdb is %q", got)
	}
	// Without its passwords nothing starts.
	if text, err := read("POSTGRES_PASSWORD=one"); err == nil {
		t.Errorf("no password for Grafana: %s", text)
	}
}

// What the file names of this repository is there, also where Docker is not, and the
// programs take the options that they are given.
func TestComposeNamesWhatIsThere(t *testing.T) {
	text, err := os.ReadFile(compose)
	if err != nil {
		t.Fatal(err)
	}
	paths := regexp.MustCompile(`(?m)^ +(?:- |source: |build: )(\.[./\w-]*)`).FindAllStringSubmatch(string(text), -1)
	if len(paths) < 7 {
		t.Errorf("paths %q", paths)
	}
	for _, p := range paths {
		if _, err := os.Stat(filepath.Join(contrib, p[1])); err != nil && p[1] != "./ckpool.conf" {
			t.Error(err)
		}
	}
	// Who asks a node is ckdb as well, which without one divides no block: on this machine, too.
	_, ckdb, _ := strings.Cut(string(text), "\n  ckdb:\n")
	ckdb, _, _ = strings.Cut(ckdb, "\n  postgres:\n")
	for _, line := range []string{"CKDB_NODE: ${CKDB_NODE:-}", `- "host.docker.internal:host-gateway"`} {
		if !strings.Contains(ckdb, line) {
			t.Errorf("ckdb has no %s", line)
		}
	}
	scrape, err := os.ReadFile(filepath.Join(contrib, "docker", "prometheus.yml"))
	if err != nil || !strings.Contains(string(scrape), `"pool:9100"`) || !strings.Contains(string(scrape), "- ckpool.rules.yml") {
		t.Errorf("%v\n%s", err, scrape)
	}
	image, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	entry := regexp.MustCompile(`(?m)^ENTRYPOINT (.*)$`).FindSubmatch(image)
	command := regexp.MustCompile(`(?m)^    command: (\[.*\])$`).FindSubmatch(text)
	if entry == nil || command == nil {
		t.Fatal("no command of the pool")
	}
	var words, more []string
	if err := json.Unmarshal(entry[1], &words); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(command[1], &more); err != nil {
		t.Fatal(err)
	}
	// The configuration is not there, and that is all that is wrong.
	out, err := exec.Command(filepath.Join(programs, words[0]), append(append(words[1:], more...), "--check", "-c", "/nowhere/ckpool.conf")...).CombinedOutput()
	if err == nil || !strings.HasPrefix(string(out), "/nowhere/ckpool.conf: cannot read the configuration: ") {
		t.Errorf("%v: %s", err, out)
	}
}
