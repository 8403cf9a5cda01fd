package config

import (
	"fmt"
	"strconv"
	"time"

	"github.com/ckpool/ckpool/poolproto"
	"github.com/ckpool/ckpool/work"
)

// reader fills a Config. Keys whose meaning depends on others wait for the end
// of the file.
type reader struct {
	*Config
	servers          *value                       // "serverurl"
	linkServers      [poolproto.Remote + 1]*value // by role
	zmqBlock         []string                     // nil: not given
	highDiffGiven    bool
	limitExemptGiven bool
}

// fields are all keys of the file.
func (r *reader) fields() map[string]setter {
	return map[string]setter{
		"btcd":            r.readNodes,
		"zmqblock":        endpoints(&r.zmqBlock),
		"blockpoll":       interval(&r.BlockPoll, time.Millisecond),
		"update_interval": interval(&r.UpdateInterval, time.Second),

		"solo":         r.readSolo,
		"btcaddress":   text(&r.BTCAddress),
		"btcsig":       r.readSignature,
		"pooltag":      r.readTag,
		"donaddress":   text(&r.DonAddress),
		"donation":     r.readDonation,
		"version_mask": r.readVersionMask,
		"nonce1length": nonceLength(&r.Nonce1Length),
		"nonce2length": nonceLength(&r.Nonce2Length),

		"serverurl":         func(v value) error { r.servers = &v; return nil },
		"nodeserver":        func(v value) error { r.linkServers[poolproto.Node] = &v; return nil },
		"trusted":           func(v value) error { r.linkServers[poolproto.Remote] = &v; return nil },
		"passthroughserver": func(v value) error { r.linkServers[poolproto.Passthrough] = &v; return nil },
		"mindiff":           aboveZero(&r.MinDiff),
		"startdiff":         aboveZero(&r.StartDiff),
		"maxdiff":           zeroOrAbove(&r.MaxDiff),
		"highdiff":          given(&r.highDiffGiven, zeroOrAbove(&r.HighDiff)),
		"allow_low_diff":    boolean(&r.AllowLowDiff),

		"proxy":                     r.readProxies,
		"proxy_hold":                limit(&r.ProxyHold, "0 for none"),
		"max_connections_per_proxy": r.readMaxConnectionsPerProxy,
		"max_user_proxies":          count(&r.MaxUserProxies, "0 for none"),
		"upstream":                  mainPool(&r.Upstream),
		"redirecturl":               r.readRedirects,
		"reconnects_per_second":     r.readReconnects,

		"logdir":              path(&r.LogDir),
		"loglevel":            r.readLogLevel,
		"journal":             optional(path(&r.Journal), &r.Journal),
		"journal_sync":        interval(&r.JournalSync, time.Millisecond),
		"journal_size":        r.readJournalSize,
		"metrics":             optional(ownPort(&r.Metrics), &r.Metrics),
		"useragent":           texts(&r.UserAgents),
		"max_pool_useragents": count(&r.MaxPoolUserAgents, "0 for none"),
		"password":            secret(text(&r.Password)),
		"link_secret":         secret(text(&r.LinkSecret)),
		"dropidle":            limit(&r.DropIdle, "0 for never"),
		"drop_without_work":   limit(&r.DropWithoutWork, "0 for never"),

		"http":                  optional(r.readHTTP, &r.HTTP.Listen),
		"http_base":             base(&r.HTTPBase),
		"http_trusted_networks": networks(&r.HTTPTrustedNetworks),
		"http_origins":          origins(&r.HTTPOrigins),
		"private_users":         userNames(&r.PrivateUsers),
		"notify":                r.readNotify,

		"maxclients":                   count(&r.MaxClients, "0 for the default"),
		"max_line":                     r.readMaxLine,
		"max_connections_per_address":  count(&r.MaxConnectionsPerAddress, "0 for no limit"),
		"new_connections_per_second":   count(&r.NewConnectionsPerSecond, "0 for no limit"),
		"new_connections_burst":        count(&r.NewConnectionsBurst, "0 for no limit"),
		"max_unauthorised_per_address": count(&r.MaxUnauthorisedPerAddress, "0 for no limit"),
		"limit_exempt":                 given(&r.limitExemptGiven, networks(&r.LimitExempt)),
		"trusted_networks":             networks(&r.TrustedNetworks),
	}
}

// finish does what had to wait for the whole file.
func (r *reader) finish() {
	if !r.limitExemptGiven {
		r.LimitExempt = append(r.LimitExempt, r.TrustedNetworks...)
	}
	r.assignZMQ()
	r.readServers()
}

// readSolo does what the option -B does, which a file without the key leaves in
// force.
func (r *reader) readSolo(v value) error {
	solo, err := v.boolean()
	r.Solo = r.Solo || solo
	return err
}

func (r *reader) readSignature(v value) error {
	s, err := v.text()
	if err == nil && len(s) > maxSignature {
		err = v.wants(fmt.Sprintf("at most %d bytes", maxSignature))
	}
	if err == nil {
		r.BTCSig = s
	}
	return err
}

// maxSignature is what the coinbase has room for, in bytes.
const maxSignature = 38

// readTag leaves room for the other parts of the coinbase's scriptSig.
func (r *reader) readTag(v value) error {
	s, err := v.text()
	if err != nil || len(s) < 1 || len(s) > 64 {
		return v.wants("a string of 1 to 64 bytes")
	}
	r.PoolTag = s
	return nil
}

func (r *reader) readDonation(v value) error {
	percent, err := v.number("a number from 0 to 100 (percent)", func(f float64) bool { return f >= 0 && f <= 100 })
	if err != nil {
		return err
	}
	r.Donation = percent
	switch {
	case percent < 0.1:
		r.Donation = 0
	case percent > 99.9:
		r.Donation = 99.9
	}
	if r.Donation != percent {
		v.warnf("\"donation\": %v percent is taken as %v", percent, r.Donation)
	}
	return nil
}

func (r *reader) readVersionMask(v value) error {
	s, err := v.text()
	mask, hexErr := strconv.ParseUint(s, 16, 32)
	if err != nil || hexErr != nil || len(s) != 8 {
		return v.wants(`a string of 8 hex digits like "1fffe000"`)
	}
	r.VersionMask = uint32(mask) & work.RollableBits
	if r.VersionMask != uint32(mask) {
		v.warnf("\"version_mask\": bits 29 to 31 are always the template's, a block without them is invalid: %q is taken as \"%08x\"", s, r.VersionMask)
	}
	return nil
}

func (r *reader) readLogLevel(v value) (err error) {
	r.LogLevel, err = v.integer("a whole number from 0 to 7", 0, 7)
	return err
}

func (r *reader) readJournalSize(v value) error {
	n, err := v.integer("a whole number of gigabytes, 1 or more", 1, 1<<20)
	r.JournalSize = int64(n) << 30
	return err
}

func (r *reader) readMaxLine(v value) (err error) {
	r.MaxLine, err = v.integer("a whole number from 1024 to 1048576 (bytes)", 1024, 1<<20)
	return err
}

func (r *reader) readReconnects(v value) (err error) {
	r.ReconnectsPerSecond, err = v.integer("a whole number from 1 to 1000000", 1, 1_000_000)
	return err
}

func (r *reader) readMaxConnectionsPerProxy(v value) (err error) {
	r.MaxConnectionsPerProxy, err = v.integer(fmt.Sprintf("a whole number from 1 to %d", mostConnectionsPerProxy), 1, mostConnectionsPerProxy)
	return err
}
