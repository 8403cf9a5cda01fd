package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/handover"
	"github.com/ckpool/ckpool/internal/testkit/records"
)

// The first form of the records is read for ever; the files are never made anew.
func TestReadRecordsV1(t *testing.T) {
	r, err := readProcess(records.V1(t, "process"))
	if err != nil || r.LogLevel == nil || *r.LogLevel != 6 || r.Notify != "/run/systemd/notify" || r.Watchdog != 30_000_000 {
		t.Errorf("%+v, %v", r, err)
	}
	sockets, err := readControl(records.V1(t, "control"))
	if err != nil || !slices.Equal(sockets, []string{"connector", "generator", "listener", "stratifier"}) {
		t.Errorf("%q, %v", sockets, err)
	}
	records.JSON[processRecord](t, records.V1(t, "process"))
	records.JSON[controlRecord](t, records.V1(t, "control"))
	// The numbers of sections are part of the format.
	if sectionControl != 128 || sectionLock != 129 || sectionProcess != 130 {
		t.Error("sections have other numbers")
	}
}

// A record that is cut off, or of a newer version, is refused.
func TestDamagedRecords(t *testing.T) {
	for name, read := range map[string]func(in []byte) error{
		"process": func(in []byte) error { _, err := readProcess(in); return err },
		"control": func(in []byte) error { _, err := readControl(in); return err },
	} {
		good := records.V1(t, name)
		for n := range good {
			if read(good[:n]) == nil {
				t.Errorf("%s: the first %d of %d bytes are taken for all", name, n, len(good))
			}
		}
		if err := read(records.LaterJSON(good)); err != nil {
			t.Errorf("%s of a later release: %v", name, err)
		}
		newer := bytes.Replace(good, []byte(`"version":1`), []byte(`"version":2`), 1)
		if err := read(newer); err == nil || !strings.Contains(err.Error(), "version 2") {
			t.Errorf("%s of version 2: %v", name, err)
		}
	}
}

func FuzzReadRecords(f *testing.F) {
	f.Add(records.V1(f, "process"))
	f.Add(records.V1(f, "control"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if r, err := readProcess(in); err == nil && (r.Version != processVersion || r.Watchdog < 0) {
			t.Errorf("%+v", r)
		}
		_, _ = readControl(in)
	})
}

// Sections of the process are numbered from 128 on: those of a later release that
// may be left out from 192 on.
func TestSectionsOfALaterRelease(t *testing.T) {
	for kind, refused := range map[handover.Kind]bool{sectionProcess + 1: true, 191: true, 192: false, 255: false} {
		err := incoming{}.Section(kind, []byte{1, 2, 3}, nil)
		if refused != (err != nil) || err != nil && !strings.Contains(err.Error(), "it is too old to take over") {
			t.Errorf("%v: %v", kind, err)
		}
	}
}
