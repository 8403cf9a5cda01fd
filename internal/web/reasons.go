package web

// meaning is what a reason for refused shares means to who owns the miner, and what is to
// be done about it, by its name in statistics.
var meaning = map[string][2]string{
	"malformed":            {"The share could not be read.", "Update the miner's firmware, or look at what stands between it and the pool."},
	"job not found":        {"The share is for work that the pool no longer has, or never gave.", "A few after the miner was offline are normal. Many: restart the miner, it keeps old work too long."},
	"stale":                {"The share came after a new block had been found.", "Up to a few in a thousand are normal. More: look at the miner's network, or use a pool nearer to it."},
	"ntime out of range":   {"The miner has set a time that the network would refuse.", "Update the miner's firmware."},
	"duplicate":            {"The same share was sent before.", "A few after a reconnect are normal. Many: the miner repeats work; restart it or update its firmware."},
	"above target":         {"The share is not good enough for the miner's difficulty.", "A few after a change of difficulty are normal. Many: hardware errors; lower its clock or raise its voltage."},
	"invalid version mask": {"The miner changed bits of the version that it was not allowed to.", "Update the miner's firmware, or turn off version rolling (AsicBoost) there."},
	"worker mismatch":      {"The share is for a worker that is not logged in on this connection.", "Give every miner behind a proxy its own login."},
	"unauthorized worker":  {"The miner is not logged in.", "Check user name and password in the miner."},
	"not subscribed":       {"The miner sent shares before it had asked for work.", "Update the miner's firmware."},
	"refused upstream":     {"The pool that this proxy mines for refused the share.", "The operator sees why in the proxy's figures."},
	"unanswered upstream":  {"The pool that this proxy mines for did not answer.", "Nobody knows whether it counted. The operator should look at the line to that pool."},
}
