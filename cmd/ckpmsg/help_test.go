package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/control"
)

// Every command that an instance may take, a proxy too, is in the help, on the manual
// page and completed.
func TestAllCommands(t *testing.T) {
	text, page := help(80), manualPage()
	for _, c := range control.Commands() {
		if !strings.Contains(text, "\n"+c.Name) {
			t.Errorf("help lacks %s", c.Name)
		}
		if !slices.Contains(page.Words, c.Name) {
			t.Errorf("the manual page lacks %s", c.Name)
		}
	}
	if !strings.Contains(text, "\n\nOf a proxy:\nlist ") {
		t.Errorf("help does not tell what a proxy has:\n%s", text)
	}
}
