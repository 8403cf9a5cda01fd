package main

import (
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/store"
)

// Pages say in UTC from when on a setting holds, as it was typed there, wherever this machine
// is; commands in the zone of who gives them.
func TestZones(t *testing.T) {
	s, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b := book{Store: s}
	if err := b.SetSetting(t.Context(), "boss", "", store.SettingAutopay, "5", "2199-12-31 12:00 UTC"); err != nil {
		t.Fatal(err)
	}
	list, err := b.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	for _, v := range list {
		if v.Name == store.SettingAutopay && v.From != "" {
			said = v.Value + " from " + v.From
		}
	}
	if want := "5 from 2199-12-31 12:00:00 UTC"; said != want {
		t.Errorf("the page says %q, want %q", said, want)
	}
	here := time.FixedZone("here", -7*3600)
	if got, want := from(&store.Setting{Since: time.Date(2199, 12, 31, 12, 0, 0, 0, time.UTC).UnixMicro(), Height: 9}, here), "2199-12-31 05:00:00, height 9"; got != want {
		t.Errorf("a command says %q, want %q", got, want)
	}
}
