package operation

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var documented = []string{"ckpool", "ckdb", "ckpmsg", "notifier", "ckbench"}

// What is installed is what the programs say of themselves.
func TestManualsAreCurrent(t *testing.T) {
	for _, program := range documented {
		for format, file := range map[string]string{
			"man": "man/" + program + ".1", "bash": "completion/" + program + ".bash", "zsh": "completion/" + program + ".zsh",
		} {
			printed, err := exec.Command(filepath.Join(programs, program), "--manual", format).Output()
			if err != nil {
				t.Fatal(err)
			}
			kept, err := os.ReadFile(filepath.Join(contrib, file))
			if err != nil || string(kept) != string(printed) {
				t.Errorf("contrib/%s is out of date: run make manual (%v)", file, err)
			}
		}
	}
	for format, file := range map[string]string{"man5": contrib + "/man/ckpool.conf.5", "sample": "../../docs/ckpool.conf"} {
		printed, err := exec.Command(filepath.Join(programs, "ckpool"), "--manual", format).Output()
		kept, readErr := os.ReadFile(file)
		if err != nil || readErr != nil || string(kept) != string(printed) {
			t.Errorf("%s is out of date: run make manual (%v, %v)", file, err, readErr)
		}
	}
	out, err := exec.Command(filepath.Join(programs, "ckpool"), "--manual", "html").CombinedOutput()
	if err == nil || string(out) != "no format \"html\": want man, bash or zsh\n" {
		t.Errorf("unknown format: %v %s", err, out)
	}
}

// Every manual has examples, with options that there are.
func TestExamplesOfManuals(t *testing.T) {
	for _, program := range documented {
		page, err := os.ReadFile(filepath.Join(contrib, "man", program+".1"))
		if err != nil {
			t.Fatal(err)
		}
		_, examples, _ := strings.Cut(string(page), "\n.SH EXAMPLES\n")
		examples, _, _ = strings.Cut(examples, "\n.SH ")
		n := 0
		for line := range strings.Lines(strings.ReplaceAll(examples, `\-`, "-")) {
			term, isTerm := strings.CutPrefix(line, ".B ")
			words := strings.Fields(term)
			if !isTerm {
				continue
			}
			n++
			if words[0] != program {
				t.Errorf("example of %s: %s", program, line)
				continue
			}
			ask := []string{"--help"}
			if program == "ckbench" || len(words) > 1 && words[1] == "init" { // which have options of their own
				ask = []string{words[1], "--help"}
			}
			help, err := exec.Command(filepath.Join(programs, program), ask...).Output()
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range words[1:] {
				if strings.HasPrefix(word, "-") && !slices.Contains(strings.FieldsFunc(string(help), func(r rune) bool { return strings.ContainsRune(" ,\n", r) }), word) {
					t.Errorf("%s has no %s", strings.Join(words, " "), word)
				}
			}
		}
		if n == 0 {
			t.Errorf("%s has no examples", program)
		}
	}
}

func TestManualsAreRoff(t *testing.T) {
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("no groff here")
	}
	pages, err := filepath.Glob(filepath.Join(contrib, "man", "*"))
	if err != nil || len(pages) != len(documented)+1 {
		t.Errorf("pages %q, %v", pages, err)
	}
	for _, page := range pages {
		out, err := exec.Command(groff, "-man", "-Tutf8", "-ww", "-z", page).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v %s", page, err, out)
		}
	}
}

// Zsh understands its completions.
func TestZshCompletion(t *testing.T) {
	zsh, err := exec.LookPath("zsh")
	if err != nil {
		t.Skip("no zsh here")
	}
	for _, program := range documented {
		file := filepath.Join(contrib, "completion", program+".zsh")
		if out, err := exec.Command(zsh, "-n", file).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v %s", program, err, out)
		}
		if text, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(text), "#compdef "+program+"\n") {
			t.Errorf("%s: %v %.40s", program, err, text)
		}
	}
}

// Bash offers options, commands and the files of options that take some.
func TestCompletion(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash here")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pool.conf"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	completions, err := filepath.Abs(filepath.Join(contrib, "completion"))
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string][]string{
		"ckpool --d":     {"--daemonise"},
		"ckpool -c p":    {"pool.conf"},
		"ckpmsg getu":    {"getuser"},
		"ckpmsg --js":    {"--json"},
		"ckpmsg rec":     {"reconnect", "reconnclient", "recruit"},
		"ckbench st":     {"storm"},
		"notifier --soc": {"--sockdir"},
	} {
		words := strings.Fields(line)
		script := `source "$1"; shift; complete -p "$1" >&2; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _$1; printf '%s\n' "${COMPREPLY[@]}"`
		c := exec.Command(bash, append([]string{"-euc", script, "bash", filepath.Join(completions, words[0]+".bash")}, words...)...)
		c.Dir = dir
		out, err := c.Output()
		got := strings.Fields(string(out))
		slices.Sort(got)
		slices.Sort(want)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v %q, want %q", line, err, got, want)
		}
	}
}
