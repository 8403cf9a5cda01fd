package config

import (
	"fmt"
	"strings"
)

// Key is what manuals say of a key of the file.
type Key struct {
	Name   string
	Sample string // its value in the sample, in JSON: the default, unless Text says otherwise
	Text   string
}

// Group is keys that belong together.
type Group struct {
	Title string
	Text  string // of all of them
	Keys  []Key
}

// Groups are all keys that do something, in the order of the sample.
func Groups() []Group {
	return []Group{{
		Title: "Bitcoin nodes",
		Keys: []Key{
			{"btcd", `[
	{"url": "127.0.0.1:8332", "auth": "user", "pass": "pass"},
	// or instead {"url": "127.0.0.1:8332", "cookie": "~/.bitcoin/.cookie"},
]`, `The nodes (Bitcoin Core 25 or newer, or btcd) in order of preference. Of each: "url", the address of its RPC; "auth" and
"pass", its rpcuser and rpcpassword, or instead of both "cookie", the path of its cookie file (on a test network
one like ~/.bitcoin/testnet4/.cookie); "zmq", its zmqpubhashblock,
one or an array; "notify", true where the node calls notifier, so that it is asked for a new block every 5 s only.`},
			{"zmqblock", `"tcp://127.0.0.1:28332"`, `zmqpubhashblock of the first node that has no "zmq" of its own.`},
			{"blockpoll", "100", "Milliseconds between asking a node for a new block."},
			{"update_interval", "30", "Seconds between new work on the same block."},
		},
	}, {
		Title: "Other pools (proxy)",
		Text:  "Instead of bitcoin nodes and a coinbase, with the options -p and -u; with -P and -R the pools that serve the miners. docs/proxy.md and docs/links.md say more.",
		Keys: []Key{
			{"proxy", `[
	// {"url": "pool-a.example:3333", "auth": "account.farm", "pass": "x"},
	// {"url": "stratum+ssl://pool-b.example:443", "auth": "account.farm", "pass": "x"},
	// {"url": "example.onion:3333", "auth": "account.farm", "socks5": "127.0.0.1:9050"},
]`, `The pools in order of preference: the first that gives work is mined for, the others when it fails. Of each: "url", host:port, or
for TLS stratum+ssl:// before that; "auth" and "pass", the account there and its password, which -P and -R do without; "weight", a number: all pools with one
are mined for at once and the hash rate is divided as the weights say, those without one only stand in; "socks5", host:port of a
SOCKS5 proxy such as Tor, or USER:PASSWORD@ before that; "pin", of a pool with TLS, the SHA-256 of the public key of its certificate in
64 hex digits, instead of an authority that the system trusts; "agent", the name that the pool is told, else ckpool.`},
			{"proxy_hold", "60", "Seconds that a better pool must have given work again before miners go back to it; 0: none."},
			{"max_connections_per_proxy", "32", "Connections to one pool, of which there are as many as the miners need, 1 to 1000."},
			{"max_user_proxies", "1000", "Users that mine under accounts of their own at these pools at a time, with the option -u; 0: none."},
		},
	}, {
		Title: "Passthrough, redirector and node",
		Text:  "With the options -P, -R and -N, beside the pools in proxy, and for -N the bitcoin nodes in btcd.",
		Keys: []Key{
			{"redirecturl", "[]", `Pools, as host:port, that a redirector sends miners to who have shown that they mine: those of one address to the same. Most
firmware goes only to names of the domain it was given: miner.pool.example sends to eu.pool.example.`},
			{"reconnects_per_second", "2000", "Miners that are asked to connect again in a second where another pool cannot go on with their sessions, 1 to 1000000."},
		},
	}, {
		Title: "The coinbase",
		Keys: []Key{
			{"btcaddress", `"` + samplePayee + `"`, "The address that blocks pay. Not needed in solo mode. There is no default: put yours here."},
			{"solo", "false", "true: solo mode, where a user name is an address and a block pays the miner who finds it, as with the option -B."},
			{"btcsig", `""`, "Your text in each block, at most 38 bytes."},
			{"pooltag", `"ckpool"`, "The pool's text in each block, 1 to 64 bytes."},
			{"donation", "0", "Percent of each block for donaddress, 0.1 to 99.9."},
			{"donaddress", `""`, "None is built in."},
			{"version_mask", `"1fffe000"`, "Bits of the block version that miners may roll."},
			{"nonce1length", "4", "Bytes of extranonce1, 2 to 8."},
			{"nonce2length", "8", "Bytes of extranonce2, 2 to 8."},
		},
	}, {
		Title: "Listening for miners",
		Keys: []Key{
			{"serverurl", `[
	"[::]:3333",
	// {"url": "[::]:3334", "mindiff": 1000, "startdiff": 5000, "maxdiff": 0},
	// {"url": "[::]:4333", "tls": {"cert": "cert.pem", "key": "key.pem"}},
	// {"url": "[::]:5444", "public_url": "stratum+tcp://pool.example:3333"},
	// {"url": "10.0.0.5:5333", "proxy_protocol": true, "trusted_networks": ["10.0.0.0/8"]},
]`, `Addresses to listen on; without the key a proxy, passthrough, redirector or node listens on port 3334. An entry is host:port or an object with settings of its own. A certificate is read again when
its files change. With proxy_protocol every connection begins with a PROXY header (version 1 or 2), which only
trusted_networks may send: the listener's, else the global ones, else loopback and private addresses. docs/connections.md
says more.`},
			{"trusted_networks", "[]", "Networks, or addresses, whose PROXY headers are believed, and whose links are taken."},
		},
	}, {
		Title: "Links of other pools",
		Text:  "A passthrough collects miners elsewhere and brings them here over one connection. A node does too, and submits blocks there.",
		Keys: []Key{
			{"passthroughserver", "[]", `Addresses to listen on, as in serverurl, where passthroughs may link from anywhere. On all other addresses they may
from loopback and private addresses and from trusted_networks.`},
			{"nodeserver", "[]", "Addresses to listen on, likewise, for nodes, which link nowhere else. docs/nodes.md says more."},
			{"trusted", "[]", `Addresses to listen on where trusted remotes (-t) may link from anywhere, and nowhere else: whole pools elsewhere
whose users and shares are those of this one. docs/remotes.md says how.`},
			{"upstream", `""`, `For -t: the main pool, as host:port of its "trusted", for TLS stratum+ssl://host:port; or an object with url and, as in
proxy, pin and socks5.`},
			{"link_secret", `""`, "What other pools must give for a link, and what this one gives where it links to another."},
		},
	}, {
		Title: "Difficulty",
		Text:  "Any number above 0.",
		Keys: []Key{
			{"mindiff", "0.0001", "What difficulty never falls below."},
			{"startdiff", "42", "Where a miner starts, until its speed is known."},
			{"maxdiff", "0", "What difficulty never rises above; 0: nothing."},
			{"highdiff", "0", `What miners start with on a serverurl with a port above 4000 that has no settings of its own. 0: such ports are like
all others. Without the key they are too, and a warning says so.`},
			{"allow_low_diff", "false", "Taken in old files, without effect."},
		},
	}, {
		Title: "Who may mine",
		Keys: []Key{
			{"password", `""`, "What miners must give as password; empty: anything."},
			{"useragent", "[]", "Only miners whose name begins with one of these; empty: all."},
			{"dropidle", "0", "Seconds without a share until a miner is dropped; 0: never."},
			{"drop_without_work", "300", "Seconds without a usable node, or another pool in proxy mode, until miners are sent away, to their other pools; 0: never."},
		},
	}, {
		Title: "Page and API",
		Text:  "For browsers, programs and monitoring, over HTTP. docs/web.md says more.",
		Keys: []Key{
			{"http", `""`, `The address that the page is at, such as 127.0.0.1:8080, or an object {"url", "tls": {"cert", "key"}} with it and a certificate; empty:
there is no page.`},
			{"http_base", `""`, "The path that all of it is below, such as /pool, for a reverse proxy that others share."},
			{"http_trusted_networks", `[
	"127.0.0.0/8", "::1",
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7",
]`, "Networks of reverse proxies, whose word is taken for where a reader comes from and which address the page has. The default is loopback and private addresses."},
			{"http_origins", `[]`, `Other sites, such as https://stats.example, whose scripts may read what is public; "*": all.`},
			{"private_users", `[]`, `Users that are shown to nobody, as if there were none of that name, and whom notifications to others do not name; "*": all.`},
		},
	}, {
		Title: "Limits",
		Text:  "Those per address count an IPv6 address by its /64; 0 is no limit.",
		Keys: []Key{
			{"maxclients", "0", "Connections in all; 0: 90 % of the limit of open files."},
			{"max_line", "8192", "Bytes a miner may send in one line."},
			{"max_connections_per_address", "0", "Connections of one address at a time."},
			{"new_connections_per_second", "1000", "New connections of one address."},
			{"new_connections_burst", "10000", "How many of them may come at once."},
			{"max_unauthorised_per_address", "2000", "Connections of one address that have not authorized yet."},
			{"limit_exempt", `[
	"127.0.0.0/8", "::1",
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7",
]`,
				"Networks without these limits. The default is loopback, private addresses and trusted_networks; [] is none."},
		},
	}, {
		Title: "Notifications",
		Text:  "docs/notifications.md says what each event is, and what services get. \"ckpool notify-test\" tries them.",
		Keys: []Key{
			{"notify", `[
	// {"type": "telegram", "token": "123:ABC", "chat": -1001234567890},
	// {"type": "email", "server": "smtp://mail.example:587", "auth": "pool", "pass": "x",
	//  "from": "pool@pool.example", "to": ["me@pool.example"]},
	// {"type": "ntfy", "url": "https://ntfy.sh/my-topic", "user": "bc1q...",
	//  "events": ["worker_down", "worker_up"]},
]`, `Who hears of what. Of each target: "type", webhook, email, ntfy, telegram, discord, slack or command; "name", that no other has, else its
type; "events", of block_found, block_orphaned, block_matured, best_share, worker_down, worker_up, node_down, node_up,
work_stale, disk_full, journal_lag and certificate, and of those that ckdb tells (ckdb --notify): payout_sent, payout_confirmed,
payout_cancelled, reward_matured, books_differ, ckdb_behind and ckdb_gap, without it all that are not about workers and best shares; "user", of whom alone it hears then; "template", of
the text; "per_hour", messages in an hour, 20 without it, more wait and come as one, and those about blocks do not count. What else
there is for each type: "url" of webhook, ntfy, discord and slack; "secret", which signs a webhook; "token" and "chat" of
telegram; "token", or "auth" and "pass", of ntfy; "server", "auth", "pass", "from" and "to" of email; "command", a program and its
arguments in an array, and "timeout", seconds that it may take.`},
		},
	}, {
		Title: "Files",
		Text:  "In paths ~ is the home directory. Relative ones begin at the directory ckpool is started in.",
		Keys: []Key{
			{"logdir", `"logs"`, "The directory of log and statistics."},
			{"loglevel", "5", "0 to 7, as the option -l, which counts more at the start."},
			{"journal", `""`, `The directory, in logdir, of the journal that ckdb reads: every share, safe before the miner is answered.
Empty: it is "journal", written with the options -d or -S, where a ckdb answers at the start, and where there is one of this instance already; else shares are only counted.`},
			{"journal_sync", "50", "Milliseconds of shares that a power cut may cost. The end of the process, however it ends, costs none."},
			{"journal_size", "10", "Gigabytes at most; what nobody has read by then is lost, with a warning."},
			{"metrics", `""`, `An address, such as "127.0.0.1:9100", where Prometheus reads /metrics of a pool; empty: none. No login is asked
for, and nodes are named: it is for you alone.`},
			{"max_pool_useragents", "100", "User agents listed in pool.status; 0: none."},
		},
	}}
}

// Sample is a configuration with every key, to be changed by its reader: as it is
// it is refused, since it pays nobody.
func Sample() string {
	var b strings.Builder
	b.WriteString(`// Sample configuration of ckpool with every key and its default value, unless
// said otherwise. Put your address and your node's password in; all that you do
// not change may be removed. Comments and trailing commas are allowed, text after
// the last brace is ignored. ` + "`ckpool --check -c FILE`" + ` says what is wrong with a file.
{
`)
	for i, g := range Groups() {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "\t// --- %s %s\n", g.Title, strings.Repeat("-", 68-len(g.Title)))
		if g.Text != "" {
			comment(&b, g.Text)
			b.WriteByte('\n')
		}
		for _, k := range g.Keys {
			comment(&b, k.Text)
			fmt.Fprintf(&b, "\t%q: %s,\n", k.Name, strings.ReplaceAll(k.Sample, "\n", "\n\t"))
		}
	}
	b.WriteString("}\n")
	return b.String()
}

// comment writes text as lines of a comment that fit 80 columns behind a tab.
func comment(b *strings.Builder, text string) {
	const width = 70
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			fmt.Fprintf(b, "\t// %s\n", line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		fmt.Fprintf(b, "\t// %s\n", line)
	}
}
