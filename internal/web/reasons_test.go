package web

import (
	"testing"

	"github.com/ckpool/ckpool/internal/session"
)

// Every reason for which a share is refused is explained.
func TestMeaning(t *testing.T) {
	for r := range session.Reason(session.Reasons) {
		if m, ok := meaning[r.String()]; r != session.Accepted && (!ok || m[0] == "" || m[1] == "") {
			t.Errorf("%q is not explained", r)
		}
	}
	if len(meaning) != session.Reasons-1 {
		t.Errorf("%d explanations for %d reasons", len(meaning), session.Reasons-1)
	}
}
