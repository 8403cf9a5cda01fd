package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/internal/testkit/port"
)

// A passthrough has a page and metrics, over an upgrade too.
func TestEdgePage(t *testing.T) {
	t.Parallel()
	p := startFaulty(t)
	var at [2]string
	for i := range at {
		free, err := port.Free()
		if err != nil {
			t.Fatal(err)
		}
		at[i] = "127.0.0.1:" + free
	}
	e := behind(t, []string{"-P"}, map[string]any{"http": at[0], "metrics": at[1]}, p)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	told := func() {
		t.Helper()
		for url, want := range map[string]string{
			"http://" + at[0] + "/": "connected to this passthrough", "http://" + at[1] + "/metrics": `ckpool_upstream_active{pool="` + p.addr + `"} 1`,
		} {
			text := ""
			e.await(want, func() bool {
				reply, err := client.Get(url)
				if err != nil {
					return false // the process before has the address
				}
				defer reply.Body.Close()
				b, err := io.ReadAll(reply.Body)
				text = string(b)
				return err == nil && strings.Contains(text, want)
			})
			if strings.HasSuffix(url, "/") && (strings.Contains(text, p.addr) || !strings.Contains(text, "pool 1")) {
				t.Errorf("the page:\n%s", text)
			}
		}
	}
	told()
	e.upgraded()
	told()
}
