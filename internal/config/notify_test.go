package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const signingKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" // of the test vector of Standard Webhooks

// Targets have what the file says, and otherwise the defaults of the documentation.
func TestNotify(t *testing.T) {
	c, warnings := parse(t, `{`+payTo+`
		"private_users": ["BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", "bob"],
		"notify": [
			{"type": "webhook", "url": "https://hooks.example/x", "secret": "`+signingKey+`"},
			{"type": "email", "server": "smtps://mail.example", "auth": "u", "pass": "p", "from": "Pool <pool@pool.example>", "to": ["a@b.example", "c@d.example"], "per_hour": 0},
			{"type": "ntfy", "url": "http://127.0.0.1/topic", "token": "tk", "user": "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", "events": "worker_down", "name": "bob-s_1"},
			{"type": "telegram", "token": "1:a", "chat": -100123, "template": "{{.Title}}", "events": ["node_down", "node_down", "worker_up"]},
			{"type": "discord", "url": "https://discord.example/api/webhooks/1/x", "user": "bob"},
			{"type": "slack", "url": "https://hooks.slack.example/services/x", "per_hour": 5},
			{"type": "command", "command": ["/bin/x", "a b"], "timeout": 5},
		]}`, Pool)
	if warnings != nil {
		t.Errorf("warnings: %v", warnings)
	}
	ofPool := []string{"block_found", "block_orphaned", "block_matured", "node_down", "node_up", "work_stale", "disk_full", "journal_lag", "certificate",
		"payout_sent", "payout_confirmed", "payout_cancelled", "reward_matured", "books_differ", "ckdb_behind", "ckdb_gap"}
	ofUser := []string{"block_found", "block_orphaned", "block_matured", "best_share", "worker_down", "worker_up"}
	const half, address = 30 * time.Second, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"
	want := []Target{
		{Key: "notify[0]", Name: "webhook", Service: "webhook", Events: ofPool, PerHour: 20, Timeout: half, URL: "https://hooks.example/x", Secret: signingKey},
		{Key: "notify[1]", Name: "email", Service: "email", Events: ofPool, Timeout: half, Server: "smtps://mail.example", Auth: "u", Pass: "p",
			From: `"Pool" <pool@pool.example>`, To: []string{"<a@b.example>", "<c@d.example>"}},
		{Key: "notify[2]", Name: "bob-s_1", Service: "ntfy", User: address, Events: []string{"worker_down"}, PerHour: 20, Timeout: half, URL: "http://127.0.0.1/topic", Token: "tk"},
		{Key: "notify[3]", Name: "telegram", Service: "telegram", Events: []string{"node_down", "worker_up"}, Template: "{{.Title}}", PerHour: 20, Timeout: half,
			URL: "https://api.telegram.org", Token: "1:a", Chat: "-100123"},
		{Key: "notify[4]", Name: "discord", Service: "discord", User: "bob", Events: ofUser, PerHour: 20, Timeout: half, URL: "https://discord.example/api/webhooks/1/x"},
		{Key: "notify[5]", Name: "slack", Service: "slack", Events: ofPool, PerHour: 5, Timeout: half, URL: "https://hooks.slack.example/services/x"},
		{Key: "notify[6]", Name: "command", Service: "command", Events: ofPool, PerHour: 20, Timeout: 5 * time.Second, Command: []string{"/bin/x", "a b"}},
	}
	if diff := cmp.Diff(want, c.Notify); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for user, private := range map[string]bool{"bob": true, address: true, strings.ToUpper(address): true, "bobby": false, "": false} {
		if c.Private(user) != private {
			t.Errorf("%q: private %v", user, !private)
		}
	}
	if c.PrivateUsers = []string{"*"}; !c.Private("bobby") {
		t.Error("not all are private")
	}
}

// Each wrong target is told of with its place and what to do, and no secret.
func TestNotifyErrors(t *testing.T) {
	const hidden = "s3cret-0123456789"
	for _, tt := range []struct{ target, want string }{
		{`5`, `"notify[0]": want an object {…}, got 5`},
		{`{}`, `"notify[0].type": want a value, got none`},
		{`{"type": "sms"}`, `"notify[0].type": want "webhook", "email", "ntfy", "telegram", "discord", "slack" or "command", got "sms"`},
		{`{"type": "webhook"}`, `"notify[0].url": want a value, got none`},
		{`{"type": "webhook", "url": "ftp://` + hidden + `"}`, `"notify[0].url": want a URL like https://host/path, got a string`},
		{`{"type": "webhook", "url": "https://u:` + hidden + `@h/"}`, `"notify[0].url": want a URL like https://host/path, got a string`},
		{`{"type": "webhook", "url": "https://h/", "secret": "short"}`, `"notify[0].secret": want whsec_ and 16 bytes or more in base64, or any text of 16 bytes or more, got a string`},
		{`{"type": "webhook", "url": "https://h/", "secret": "whsec_%%"}`, `"notify[0].secret": want whsec_ and 16 bytes or more in base64, or any text of 16 bytes or more, got a string`},
		{`{"type": "webhook", "url": "https://h/", "chat": "x"}`, `"notify[0].chat": want a key of the type webhook, which are url, secret, got one of telegram`},
		{`{"type": "discord", "url": "https://h/", "events": ["blok_found"]}`, `"notify[0].events[0]": want "block_found", or another event, got "blok_found"`},
		{`{"type": "discord", "url": "https://h/", "events": ["zzzzzzzz"]}`, `"notify[0].events[0]": want an event: block_found, block_orphaned, block_matured, best_share, worker_down, worker_up, node_down, node_up, work_stale, disk_full, journal_lag, certificate, payout_sent, payout_confirmed, payout_cancelled, reward_matured, books_differ, ckdb_behind, ckdb_gap, got "zzzzzzzz"`},
		{`{"type": "discord", "url": "https://h/", "user": "bob", "events": ["node_down"]}`,
			`"notify[0].events": want events about a user, beside "user": block_found, block_orphaned, block_matured, best_share, worker_down, worker_up, got an array`},
		{`{"type": "discord", "url": "https://h/", "user": "bob.rig"}`, `"notify[0].user": want the name of a user, which is that of a worker up to its first . or _, got "bob.rig"`},
		{`{"type": "discord", "url": "https://h/", "name": "../x"}`, `"notify[0].name": want a name of 1 to 40 letters, digits, - and _, got "../x"`},
		{`{"type": "discord", "url": "https://h/"}, {"type": "discord", "url": "https://i/"}`,
			`"notify[1].name": want a name that no other target has, which without the key is its type, got "discord"`},
		{`{"type": "discord", "url": "https://h/", "per_hour": -1}`, `"notify[0].per_hour": want a whole number, 0 for no limit, got -1`},
		{`{"type": "discord", "url": "https://h/", "template": 5}`, `"notify[0].template": want a template of at most 4096 bytes, got 5`},
		{`{"type": "telegram", "token": "` + hidden + `\n", "chat": 1}`, `"notify[0].token": want a text of one line, got a string`},
		{`{"type": "telegram", "token": 123, "chat": 1}`, `"notify[0].token": want a text of one line, got a number`},
		{`{"type": "ntfy", "url": "https://h/"}`, `"notify[0].url": want the topic at the end of it, as in https://ntfy.sh/topic, got none`},
		{`{"type": "ntfy", "url": "https://h/t", "auth": "a"}`, `"notify[0].pass": want a value, got none`},
		{`{"type": "email", "server": "mail.example:587", "from": "a@b.example", "to": "c@d.example"}`,
			`"notify[0].server": want smtp://host:port, which uses STARTTLS, or smtps://host:port, got "mail.example:587"`},
		{`{"type": "email", "server": "smtp://h", "from": "nobody", "to": "c@d.example"}`, `"notify[0].from": want an address like "Pool <pool@example.org>", got "nobody"`},
		{`{"type": "email", "server": "smtp://h", "from": "a@b.example", "to": ["c@d.example", "x\r\nBcc: y@z.example"]}`,
			`"notify[0].to[1]": want an address like "Pool <pool@example.org>", got "x\r\nBcc: y@z.example"`},
		{`{"type": "email", "server": "smtp://h", "from": "a@b.example", "to": []}`, `"notify[0].to": want 1 to 20 addresses, got an array`},
		{`{"type": "command", "command": ["sh", "-c", "x"]}`, `"notify[0].command": want the path of a program from / on, and its arguments, in an array; no shell reads them, got an array`},
		{`{"type": "command", "command": []}`, `"notify[0].command": want a program and its arguments in an array, got an array`},
		{`{"type": "command", "command": "/x", "timeout": 0}`, `"notify[0].timeout": want a whole number of seconds from 1 to 600, got 0`},
	} {
		_, _, err := Parse("f", []byte("{"+payTo+"\n\"notify\": ["+tt.target+"]}"), Pool)
		if err == nil || err.Error() != "f:2: "+tt.want {
			t.Errorf("%s:\n got %v\nwant %s", tt.target, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), hidden) {
			t.Errorf("the secret is told: %v", err)
		}
	}
	const want = `f:2: "notify": want an array of targets [{"type", …}], got "x"`
	if _, _, err := Parse("f", []byte("{"+payTo+"\n\"notify\": \"x\"}"), Pool); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// Who sends messages over the internet in plain text is told, without the URL.
func TestNotifyPlain(t *testing.T) {
	for host, warned := range map[string]bool{"127.0.0.1": false, "10.1.2.3": false, "[::1]:80": false, "ntfy": false, "localhost": false, "203.0.113.5": true, "h.example": true} {
		_, warnings := parse(t, `{`+payTo+`"notify": [{"type": "ntfy", "url": "http://`+host+`/s3cret"}]}`, Pool)
		if (len(warnings) == 1) != warned || len(warnings) > 1 || warned && (strings.Contains(warnings[0].Text, "s3cret") || !strings.HasPrefix(warnings[0].Text, `"notify[0].url" is http`)) {
			t.Errorf("%s: %v", host, warnings)
		}
	}
}

func TestTooManyTargets(t *testing.T) {
	var list []string
	for i := range maxTargets + 2 {
		list = append(list, fmt.Sprintf(`{"type": "slack", "url": "https://h/", "name": "n%d"}`, i))
	}
	c, _, err := Parse("f", []byte("{"+payTo+"\"notify\": ["+strings.Join(list, ",")+"]}"), Pool)
	if len(c.Notify) != maxTargets || err == nil || !strings.Contains(err.Error(), `"notify[200]": want at most 200 targets`) {
		t.Errorf("%d targets: %v", len(c.Notify), err)
	}
}
