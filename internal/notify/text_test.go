package notify

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// What strangers may call themselves, and what must not be left of it.
var hostile = []string{
	"@everyone", "<@123456789012345678>", "<!channel>", "<!here>", "@here", "</code><b>x</b>", "<script>alert(1)</script>", "`code`", "**bold**", "[a](https://evil.example)",
	"https://evil.example/x?y", "<https://evil.example|bank>", "a\r\nBcc: victim@example.org\r\n\r\nbody", "a\x1b[2J\x1b]0;title\x07", "\u202egnp.exe", "\u2066x\u2069", "a\u200bb\u2060c\ufeff",
	"\xff\xfe", "a\u0085b\u2028c", "\ue000x\ue001y\ue000", "\ue001@everyone", "&lt;b&gt;", strings.Repeat("x", 5000), strings.Repeat("`", 300), strings.Repeat("&", 2000), "/start", "#tag $BTC",
}

// A stranger's text is one line of bounded length without anything that cannot be seen, and
// no address of a page.
func TestClean(t *testing.T) {
	for _, s := range hostile {
		got := clean(s, maxName)
		if utf8.RuneCountInString(got) > maxName || !utf8.ValidString(got) || strings.Contains(got, "://") {
			t.Errorf("%q became %q", s, got)
		}
		for _, r := range got {
			if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co) {
				t.Errorf("%q has %U still", s, r)
			}
		}
	}
	for s, want := range map[string]string{
		"bc1qrig.Küche 1": "bc1qrig.Küche 1", "a\nb": "a.b", "http://x": "http[:]//x", "\u202ex": ".x", "日本": "日本", "a\xffb": "a.b",
	} {
		if got := clean(s, maxName); got != want {
			t.Errorf("%q became %q, want %q", s, got, want)
		}
	}
}

// Each service shows a stranger's text as such, whatever it is. Expected values are by the
// formats that the services document.
func TestEncode(t *testing.T) {
	for _, tt := range []struct{ name, telegram, discord, slack, plain string }{
		{"@everyone", "Rig <code>@everyone</code> &lt;1&gt; *b*", "Rig `@everyone` \\<1\\> \\*b\\*", "Rig @everyone &lt;1&gt; *b*", "Rig @everyone <1> *b*"},
		{"<!channel>`x`", "Rig <code>&lt;!channel&gt;`x`</code> &lt;1&gt; *b*", "Rig `<!channel>'x'` \\<1\\> \\*b\\*", "Rig &lt;!channel&gt;`x` &lt;1&gt; *b*", "Rig <!channel>`x` <1> *b*"},
		{"</code>&amp;", "Rig <code>&lt;/code&gt;&amp;amp;</code> &lt;1&gt; *b*", "Rig `</code>&amp;` \\<1\\> \\*b\\*", "Rig &lt;/code&gt;&amp;amp; &lt;1&gt; *b*", "Rig </code>&amp; <1> *b*"},
		{"", "Rig  &lt;1&gt; *b*", "Rig  \\<1\\> \\*b\\*", "Rig  &lt;1&gt; *b*", "Rig  <1> *b*"},
	} {
		s := whole("Rig "+mark(tt.name)+" <1> *b*", maxText)
		for _, k := range []struct{ name, got, want string }{
			{"telegram", telegramHTML(s), tt.telegram}, {"discord", discordText(s), tt.discord}, {"slack", slackText(s), tt.slack}, {"plain", plain(s), tt.plain},
		} {
			if k.got != k.want {
				t.Errorf("%s: %q, want %q", k.name, k.got, k.want)
			}
		}
	}
}

// checkEncoded finds markup in what a service gets, of text that begins with Rig.
func checkEncoded(t *testing.T, s string) {
	t.Helper()
	if html := telegramHTML(s); strings.Count(html, "<") != strings.Count(html, "<code>")+strings.Count(html, "</code>") || strings.Count(html, "<code>") != strings.Count(html, "</code>") {
		t.Errorf("tags in HTML: %q", html)
	}
	if text := slackText(s); strings.ContainsAny(text, "<>") {
		t.Errorf("tags of Slack: %q", text)
	}
	// Outside of code everything that means something is escaped.
	outside := ""
	for i, part := range strings.Split(strings.ReplaceAll(discordText(s), "\\`", ""), "`") {
		if i%2 == 0 {
			outside += part
		}
	}
	for i, r := range outside {
		if strings.ContainsRune("<>@*_~|#", r) && (i == 0 || outside[i-1] != '\\') {
			t.Errorf("markup of Discord: %q", discordText(s))
			break
		}
	}
	for _, out := range []string{telegramHTML(s), discordText(s), slackText(s), plain(s)} {
		if strings.ContainsAny(out, "\ue000\ue001\x00\x1b\r") {
			t.Errorf("marks or control characters: %q", out)
		}
	}
	for _, n := range []int{10, 2000} {
		for name, encode := range map[string]func(string) string{"telegram": telegramHTML, "discord": discordText, "slack": slackText} {
			out := fit(s, n, encode)
			if size := utf8.RuneCountInString(out); size > n && s != "" && utf8.RuneCountInString(encode("…")) <= n {
				t.Errorf("%s: %d letters of %d: %q", name, size, n, out)
			}
		}
	}
}

func TestHostile(t *testing.T) {
	for _, s := range hostile {
		checkEncoded(t, whole("Rig "+mark(s)+" is down", maxText))
		checkEncoded(t, whole(s, maxText)) // of a template's author
		checkEncoded(t, whole(mark(s)[:min(20, len(mark(s)))], maxText))
	}
}

func FuzzEncode(f *testing.F) {
	for _, s := range hostile {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, ours, theirs string) {
		checkEncoded(t, whole(ours+mark(theirs)+ours, maxText))
	})
}

func TestTemplate(t *testing.T) {
	n := &Notice{
		Event: "worker_down", Severity: warning, Pool: "pool", Title: "T", Text: "X", User: "bob", Worker: "bob.<b>", Workers: []string{"bob.<b>", "bob.@x"}, Count: 2,
		Block: &Block{Height: 900001, Hash: "00ff", Reward: 312500000, Difficulty: 121e12, State: "pending"},
	}
	for text, want := range map[string]string{
		`{{.Event}} {{.Severity}} {{.Title}}{{.Text}} {{.Count}}`:                                   "worker_down warning TX 2",
		`{{.Pool}}: {{range .Workers}}{{.}} {{else}}none{{end}}`:                                    "pool: bob.<b> bob.@x ",
		`{{with .Block}}{{.Height}} {{.Hash}} {{.Reward}} {{.Difficulty}}{{end}}`:                   "900001 00ff 3.125 BTC 121T",
		`{{if eq .User "x"}}no{{else}}{{.User}}{{end}}`:                                             "bob",
		`{{printf "%.5s" .Worker}}|{{len .Workers}}`:                                                "bob.|2", // a mark is a letter
		`{{if .Resolved}}over{{end}}{{if .Block}}{{range $i, $w := $.Workers}}{{$i}}{{end}}{{end}}`: "01",
	} {
		tmpl, err := parseTemplate(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, err := fill(tmpl, n)
		if plain(got) != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", text, plain(got), err, want)
		}
	}
	for _, text := range []string{
		`{{`, `{{.Nothing}}`, `{{range 1000000000000}}{{end}}`, `{{range .Workers}}{{range $.Workers}}x{{end}}{{end}}`, `{{define "x"}}{{template "x"}}{{end}}{{template "x"}}`,
		`{{block "x" .}}{{end}}`, `{{printf "%100000d" .Count}}`, `{{if .Block}}{{range 5}}{{end}}{{end}}`, `{{with .Block}}{{else}}{{range 5}}{{end}}{{end}}`, `{{range (slice .Workers 0)}}{{end}}`,
	} {
		if tmpl, err := parseTemplate(text); err == nil || strings.ContainsAny(err.Error(), "\n") {
			t.Errorf("%s: %v, %v", text, tmpl, err)
		}
	}
}

// What people read of each event.
func TestWords(t *testing.T) {
	block := func(event, state string, resolved bool, reason, worker string, private bool) Notice {
		return Notice{Event: event, Resolved: resolved, Reason: reason, Worker: worker, User: "bob", Private: private,
			Block: &Block{Height: 900001, Hash: "00ff", Reward: 312500000, Difficulty: 121e12, State: state, Confirmations: 100}}
	}
	const tail = "\nReward 3.125 BTC, network difficulty 121T.\nHash 00ff"
	for _, tt := range []struct {
		n           Notice
		title, text string
	}{
		{block("block_found", "pending", false, "", "bob.1", false), "Block 900,001 found", "Found by worker bob.1." + tail},
		{block("block_found", "pending", false, "", "", true), "Block 900,001 found", "Found by a private user." + tail},
		{block("block_found", "pending", false, "", "", false), "Block 900,001 found", tail[1:]},
		{block("block_orphaned", "orphaned", false, "", "bob.1", false), "Block 900,001 was orphaned", "Another block is at its height in the chain.\nFound by worker bob.1." + tail},
		{block("block_orphaned", "rejected", false, "high-hash", "bob.1", false), "Block 900,001 was rejected", "The nodes say: high-hash.\nFound by worker bob.1." + tail},
		{block("block_orphaned", "confirmed", true, "", "bob.1", false), "Block 900,001 is in the chain again", "Found by worker bob.1." + tail},
		{block("block_matured", "confirmed", false, "", "bob.1", false), "Block 900,001 is mature", "It has 100 confirmations: its reward can be spent.\nFound by worker bob.1." + tail},
		{Notice{Event: "best_share", User: "bob", Worker: "bob.1", Difficulty: 1.5e9}, "Best share ever of bob: 1.5G", "Found by worker bob.1."},
		{Notice{Event: "best_share", Private: true, Difficulty: 1.5e9}, "Best share ever of a private user: 1.5G", "Found by a private user."},
		{Notice{Event: "worker_down", User: "bob", Workers: []string{"bob.1"}, Count: 1, Users: 1, Reason: "No share for 10m 5s."}, "Worker bob.1 is down", "No share for 10m 5s."},
		{Notice{Event: "worker_up", User: "bob", Workers: []string{"bob.1", "bob.2"}, Count: 2, Users: 1}, "2 workers of bob are up again", "bob.1\nbob.2"},
		{Notice{Event: "worker_down", Private: true, Workers: []string{"bob.1"}, Count: 2000, Users: 30}, "2,000 workers of 30 users are down", "bob.1\nand 1,999 more"},
		{Notice{Event: "worker_down", Private: true, Count: 1, Users: 1}, "A worker of a private user is down", ""},
		{Notice{Event: "node_down", Subject: "10.0.0.1:8332", Reason: "it hangs"}, "Node 10.0.0.1:8332 is down", "It cannot be used: it hangs."},
		{Notice{Event: "node_up", Subject: "10.0.0.1:8332"}, "Node 10.0.0.1:8332 is up", "It can be used again."},
		{Notice{Event: "work_stale", Reason: "no node can be used"}, "Work is stale", "Miners get no new work: no node can be used."},
		{Notice{Event: "work_stale", Resolved: true}, "There is new work again", "Miners get it."},
		{Notice{Event: "disk_full", Subject: "/var/x", Reason: "1GB of 2TB are free"}, "Disk nearly full: /var/x", "1GB of 2TB are free."},
		{Notice{Event: "disk_full", Subject: "/var/x", Reason: "1GB of 2TB are free", Resolved: true}, "There is room again in /var/x", "1GB of 2TB are free."},
		{Notice{Event: "journal_lag", Reason: "ckdb is away"}, "The journal lags", "Ckdb is away."},
		{Notice{Event: "journal_lag", Resolved: true}, "The journal is in order again", "Shares are safe and read."},
		{Notice{Event: "certificate", Subject: "c.pem", Reason: "it is valid until 2026-12-01"}, "Certificate c.pem expires", "It is valid until 2026-12-01."},
		{Notice{Event: "certificate", Subject: "c.pem", Reason: "it is valid until 2027-12-01", Resolved: true}, "Certificate c.pem is renewed", "It is valid until 2027-12-01."},
		{Notice{Event: "test"}, "Test message", "Notifications of this pool reach you here."},
	} {
		tt.n.compose()
		if title, text := plain(tt.n.Title), plain(tt.n.Text); title != tt.title || text != tt.text {
			t.Errorf("%s: %q\n%q\nwant %q\n%q", tt.n.Event, title, text, tt.title, tt.text)
		}
	}
}

// A sentence begins with a whole letter, whatever it is.
func TestSentence(t *testing.T) {
	for reason, want := range map[string]string{"": "", "it is": "It is.", "über uns": "Über uns.", "9 gaps": "9 gaps."} {
		if got := plain((&Notice{Reason: reason}).sentence()); got != want {
			t.Errorf("%q is %q, want %q", reason, got, want)
		}
	}
}

// Who hears that a gap is over does not read that shares are missing.
func TestGapIsOver(t *testing.T) {
	n := Notice{Event: "ckdb_gap", Subject: "main", Reason: "its journal has 0 gaps: shares are missing that no database has", Resolved: true}
	if n.compose(); plain(n.Title) != "No shares of main are missing any more" || n.Text != "" {
		t.Errorf("%s: %s", n.Title, n.Text)
	}
}
