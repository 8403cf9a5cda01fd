package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Keys that other software has for what a key of ours says, by our key. In lower
// case; - and _ in names do not count.
var synonyms = map[string][]string{
	"btcd": {
		"bitcoind", "bitcoin", "bitcoincore", "bitcoinrpc", "daemon", "daemons", "node", "nodes", "rpc", "rpcurl", "rpchost",
		"rpcconnect", "rpcport", "rpcuser", "rpcpass", "rpcpassword", "rpccookie", "rpccookiefile", "cookie", "cookiefile", "auth",
		"pool", "pools", "url", "user", "pass", // of miners
	},
	"serverurl": {
		"stratum", "stratumport", "stratumurl", "stratumlisten", "listen", "listenaddress", "listenport", "bind", "bindaddress",
		"host", "port", "ports", "server", "poolport",
	},
	"btcaddress": {
		"address", "wallet", "walletaddress", "payout", "payoutaddress", "payto", "paytoaddress", "poolpayoutaddress", "coinbaseaddress",
		"bitcoinaddress", "rewardaddress", "bchaddress",
	},
	"btcsig":     {"signature", "coinbasesignature", "coinbasetext", "coinbasetag", "bchsig", "coinbasetagsecondary"},
	"pooltag":    {"pooltagprefix", "coinbasetagprimary", "poolidentifier", "poolname"},
	"mindiff":    {"mindifficulty", "minimumdifficulty", "vardiffmin"},
	"maxdiff":    {"maxdifficulty", "maximumdifficulty", "vardiffmax"},
	"startdiff":  {"diff", "difficulty", "startdifficulty", "startingdifficulty", "initialdifficulty", "defaultdifficulty", "stratumdiff"},
	"donation":   {"donrate", "donationrate", "donationpercent"},
	"donaddress": {"donationaddress"},
	"zmqblock":   {"zmq", "zmqnotify", "zmqpubhashblock", "zmqaddress"},
	"logdir":     {"logs", "logpath", "logdirectory"},
	"solo":       {"btcsolo", "solomode", "solomining"},
	"password":   {"stratumpassword", "poolpassword"},
	"maxclients": {"maxconnections", "maxminers"},
}

// nodeSynonyms are the same for an entry of "btcd".
var nodeSynonyms = map[string][]string{
	"url":    {"host", "hostname", "address", "server", "port", "rpcurl", "rpchost", "rpcconnect", "rpcport"},
	"auth":   {"user", "username", "rpcuser", "login"},
	"pass":   {"password", "rpcpass", "rpcpassword"},
	"cookie": {"cookiefile", "cookiepath", "rpccookie", "rpccookiefile"},
	"zmq":    {"zmqblock", "zmqnotify", "zmqpubhashblock"},
}

// listenerSynonyms are the same for an entry of "serverurl".
var listenerSynonyms = map[string][]string{
	"url":       {"host", "address", "listen", "bind", "port", "serverurl"},
	"mindiff":   {"mindifficulty", "minimumdifficulty", "minimum"},
	"maxdiff":   {"maxdifficulty", "maximumdifficulty", "maximum"},
	"startdiff": {"diff", "difficulty", "startdifficulty", "startingdifficulty", "initialdifficulty"},
	"tls":       {"ssl", "cert", "certificate", "key", "tlscert", "tlskey"},
}

// upstreamSynonyms are the same for an entry of "proxy".
var upstreamSynonyms = map[string][]string{
	"url":    {"host", "hostname", "address", "server", "pool", "port", "poolurl", "stratum"},
	"auth":   {"user", "username", "worker", "workername", "login", "account", "wallet"},
	"pass":   {"password"},
	"weight": {"quota", "ratio", "percent", "share"},
	"socks5": {"socks", "proxy", "socksproxy", "tor", "torproxy"},
	"pin":    {"fingerprint", "tlspin", "tlsfingerprint", "pinnedpubkey"},
	"agent":  {"useragent"},
}

// unsupported are keys of other pools that nothing here does, though money or
// difficulty depends on them: what to do instead. EloPool and asicseer-pool are
// forks of ckpool in C.
var unsupported = map[string]string{
	"poolfee":              `blocks pay "btcaddress" here, of which "donation" percent go to "donaddress"`,
	"pooladdress":          `blocks pay "btcaddress" here, of which "donation" percent go to "donaddress"`,
	"fee":                  `blocks pay "btcaddress" here, of which "donation" percent go to "donaddress"`,
	"feepercent":           `blocks pay "btcaddress" here, of which "donation" percent go to "donaddress"`,
	"feeaddress":           `blocks pay "btcaddress" here, of which "donation" percent go to "donaddress"`,
	"rewardrecipients":     `blocks pay "btcaddress" here, of which "donation" percent go to "donaddress"`,
	"singlepayoutoverride": `blocks pay "btcaddress" here, or with "solo" the miner who finds them`,
	"payouts":              `blocks pay "btcaddress" here, or with "solo" the miner who finds them`,
	"paymentprocessing":    `blocks pay "btcaddress" here, or with "solo" the miner who finds them`,
	"mindiffoverrides":     `give such miners a port of their own, {"url", "mindiff"} in "serverurl", or have them set the password d=DIFFICULTY`,
	"vardiff":              `difficulty adjusts itself between "mindiff" and "maxdiff"`,
	"vardiffenabled":       `difficulty adjusts itself; "mindiff" and "maxdiff" of the same value keep it where it is`,
	"vardifftargetsec":     `difficulty adjusts itself between "mindiff" and "maxdiff"`,
	"vardiffretargetsec":   `difficulty adjusts itself between "mindiff" and "maxdiff"`,
	"vardifftolerance":     `difficulty adjusts itself between "mindiff" and "maxdiff"`,
	"vardiffmaxupfactor":   `difficulty adjusts itself between "mindiff" and "maxdiff"`,
	"vardiffmaxdownfactor": `difficulty adjusts itself between "mindiff" and "maxdiff"`,
	"vardiffgracesec":      `difficulty adjusts itself between "mindiff" and "maxdiff"`,
}

// plain is a key without what pools write differently.
func plain(key string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", ".", "").Replace(key))
}

// meaning is the key of ours that a key of other software stands for.
func meaning(key string, of map[string][]string) string {
	key = plain(key)
	for _, ours := range slices.Sorted(maps.Keys(of)) {
		if ours == key || slices.Contains(of[ours], key) {
			return ours
		}
	}
	return ""
}

// tellUnknown says what an object's unknown key means for its owner. What would silently
// be something else than it was meant to be is an error, all else a warning.
func (v value) tellUnknown(key string, at int, fields map[string]setter) {
	path := v.member(key)
	synonyms := map[string]map[string][]string{
		"": synonyms, "btcd": nodeSynonyms, "serverurl": listenerSynonyms, "proxy": upstreamSynonyms,
	}[strings.TrimRight(v.path, "[]0123456789")]
	ours := meaning(key, synonyms)
	text, meant := "", ""
	switch {
	case ours != "" && v.has(ours):
		v.file.warnf(at, "unknown key %q, ignored; %q counts", cut(path, 80), v.member(ours))
		return
	case ours != "":
		meant = v.member(ours)
		text = fmt.Sprintf("unknown key %q: here it is %q%s", cut(path, 80), v.member(ours), example(v.path, ours))
	case v.path == "" && unsupported[plain(key)] != "":
		text = fmt.Sprintf("%q is not supported: %s; remove it, or start with --ignore-unknown", cut(path, 80), unsupported[plain(key)])
	default:
		v.file.warnf(at, "unknown key %q%s", cut(path, 80), suggestion(key, fields))
		return
	}
	e := &Error{Text: text, Unknown: true, meant: meant}
	v.file.note(v.file.at(at, e))
}

// example shows keys whose values are written in a way of their own.
func example(path, key string) string {
	if path != "" {
		return map[string]string{"url": `, like "127.0.0.1:8332"`}[key]
	}
	return map[string]string{
		"btcd":      `: [{"url": "127.0.0.1:8332", "auth": "user", "pass": "password"}]`,
		"serverurl": `: ["0.0.0.0:3333"]`,
	}[key]
}
