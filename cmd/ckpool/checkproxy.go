package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/figures"
	"github.com/ckpool/ckpool/internal/hostport"
	"github.com/ckpool/ckpool/internal/pool"
	"github.com/ckpool/ckpool/internal/upstream"
	"github.com/ckpool/ckpool/source"
	"github.com/ckpool/ckpool/stratum/client"
)

// trialTime is how long a pool has for all that it is asked.
const trialTime = 10 * time.Second

// difficultyTime is how long a difficulty is waited for behind the first job, and a
// higher one when that is asked for; tests lengthen it.
var difficultyTime = time.Second

// errNoJob is a pool that knows the user and gives nothing to do.
var errNoJob = fmt.Errorf("it knows the user, but gave no work within %v", trialTime)

// try connects to a pool as a proxy does, and waits for its first job.
func try(ctx context.Context, c upstream.Config, dial func(ctx context.Context, network, address string) (net.Conn, error)) (client.Notify, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, trialTime, errNoJob)
	defer cancel()
	to, err := client.Dial(ctx, client.Endpoint{URL: c.URL, User: c.User, Password: c.Password}, client.Options{
		UserAgent: c.Agent, VersionMask: c.VersionMask, MinBitCount: 2,
		ExtranonceSubscribe: true, Pin: c.Pin, SOCKS5: c.SOCKS5, Dial: dial,
	})
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer within %v", trialTime)
		} else if inner := errors.Unwrap(err); inner != nil { // without the URL before it
			err = inner
		}
		return client.Notify{}, err
	}
	defer to.Close()
	var job *client.Notify
	var soon <-chan time.Time
	suggested := false
	// enough tells that no other difficulty is waited for.
	enough := func() bool {
		if job.Difficulty >= c.LeastDifficulty || suggested {
			return job.Difficulty >= c.LeastDifficulty
		}
		suggested, soon = true, time.After(difficultyTime)
		return to.SuggestDifficulty(c.LeastDifficulty) != nil
	}
	for {
		select {
		case e := <-to.Events():
			switch e := e.(type) {
			case client.Notify:
				job = &e
				switch {
				case job.Difficulty == 0 && soon == nil:
					soon = time.After(difficultyTime)
				case job.Difficulty > 0 && enough():
					return *job, nil
				}
			case client.Difficulty:
				if job == nil {
					continue
				}
				if job.Difficulty = float64(e); enough() {
					return *job, nil
				}
			case client.Closed:
				return client.Notify{}, e.Err
			}
		case <-soon:
			job.Difficulty = cmp.Or(job.Difficulty, 1) // as is usual where it is not said
			return *job, nil
		case <-ctx.Done():
			return client.Notify{}, context.Cause(ctx)
		}
	}
}

// itself tells that a pool is the instance that is configured, by whatever name.
func (k *check) itself(ctx context.Context, u *config.Upstream) bool {
	to, err := (client.Endpoint{URL: u.URL}).Address()
	if err != nil || u.SOCKS5 != "" { // it is told what is wrong, or resolved elsewhere
		return false
	}
	own := []netip.AddrPort{}
	for _, l := range k.config.Servers {
		host, port, hasPort, err := hostport.Split(l.URL)
		if !hasPort {
			port = "3333"
		}
		if err == nil {
			own = append(own, addresses(ctx, cmp.Or(host, "::"), port)...)
		}
	}
	local := func(ip netip.Addr) bool {
		list, _ := net.InterfaceAddrs() // without them nothing is local but loopback
		return ip.IsLoopback() || slices.ContainsFunc(list, func(a net.Addr) bool {
			p, err := netip.ParsePrefix(a.String())
			return err == nil && p.Addr() == ip
		})
	}
	host, port, _ := net.SplitHostPort(to) // it is what Address made
	return slices.ContainsFunc(addresses(ctx, host, port), func(at netip.AddrPort) bool { return upstream.Own(at, own, local) })
}

// addresses are those of a host, none if it cannot be resolved.
func addresses(ctx context.Context, host, port string) (list []netip.AddrPort) {
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil
	}
	ips, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	for _, ip := range ips {
		list = append(list, netip.AddrPortFrom(ip, uint16(number)))
	}
	return list
}

// pools tries the pools of a proxy, all at the same time.
func (k *check) pools(ctx context.Context) {
	type trial struct {
		job client.Notify
		err error
	}
	trials := make([]trial, len(k.config.Proxies))
	var trying sync.WaitGroup
	for i := range k.config.Proxies {
		if u := &k.config.Proxies[i]; u.URL == "" || u.User == "" {
			continue // which is told
		}
		trying.Go(func() {
			t := &trials[i]
			if k.itself(ctx, &k.config.Proxies[i]) {
				t.err = upstream.ErrItself
				return
			}
			t.job, t.err = try(ctx, pool.UpstreamConfig(&k.config, &k.config.Proxies[i]), (&net.Dialer{}).DialContext)
		})
	}
	trying.Wait()
	for i, t := range trials {
		switch u := &k.config.Proxies[i]; {
		case u.URL == "" || u.User == "":
		case t.err != nil:
			k.failedPool(i, t.err)
		default:
			k.usablePool(i, &t.job)
		}
	}
}

// usablePool tells what a pool gives, unless a proxy cannot use that.
func (k *check) usablePool(i int, job *client.Notify) {
	url := k.config.Proxies[i].URL
	least := pool.UpstreamConfig(&k.config, &k.config.Proxies[i]).LeastDifficulty
	own, rest := len(job.Extranonce.Extranonce1), job.Extranonce.Extranonce2Len
	rolling := "no version rolling"
	if job.VersionMask != 0 {
		rolling = fmt.Sprintf("version mask %08x", job.VersionMask)
	}
	what := fmt.Sprintf("extranonce1 of %s, extranonce2 of %s, difficulty %v, %s", counted(own, "byte"), counted(rest, "byte"), job.Difficulty, rolling)
	trouble := ""
	switch {
	case rest > source.MaxExtranonce2:
		trouble = fmt.Sprintf("its extranonce2 has %d bytes, at most %d can be used", rest, source.MaxExtranonce2)
	case job.Difficulty < least:
		trouble = fmt.Sprintf(`it asks for a difficulty of %v, and no miner's falls below %v: set "mindiff" to that or less`, job.Difficulty, least)
		if k.config.MinDiff != least {
			trouble = fmt.Sprintf(`it asks for a difficulty of %v, and no miner's falls below %v, the "mindiff" of a serverurl`, job.Difficulty, least)
		}
	}
	if trouble != "" {
		k.say("pool", url, "cannot be used: "+what)
		k.fail(fmt.Sprintf("proxy[%d]", i), "pool %s: %s", url, trouble)
		return
	}
	k.say("pool", url, "ok: "+what)
}

// failedPool judges why a pool gives no work: what the pool or the network may mend is a
// warning, what only the configuration can mend is an error.
func (k *check) failedPool(i int, err error) {
	u := &k.config.Proxies[i]
	entry := fmt.Sprintf("proxy[%d]", i)
	if k.secured("pool", entry, u, err) {
		return
	}
	if errors.Is(err, upstream.ErrItself) {
		k.fail(entry+".url", "pool %s: %v, by its serverurl", u.URL, err)
		k.say("pool", u.URL, "this instance")
		return
	}
	var refused *client.RefusedError
	var unusable *client.UnusableError
	state := "unreachable"
	if errors.As(err, &refused) && refused.Method == "mining.authorize" {
		state = "refused"
		k.fail(entry+".auth", "pool %s: refuses the user %q: %s", u.URL, u.User, figures.Cut(refused.Reject.Text, 100))
	} else {
		if errors.As(err, &refused) || errors.As(err, &unusable) || errors.Is(err, errNoJob) {
			state = "no work"
		}
		k.unreachable(i, err)
	}
	k.say("pool", u.URL, state)
}

// unreachable warns of a pool that may be usable another time.
func (k *check) unreachable(i int, err error) {
	url := k.config.Proxies[i].URL
	address, _ := (client.Endpoint{URL: url}).Address() // it was connected to
	k.warn(fmt.Sprintf("proxy[%d]", i), "pool %s: %s", url, figures.Cut(upstream.Reason(address, err), 200))
	k.unchecked = append(k.unchecked, "pool "+url)
}

// secured judges what is wrong with the TLS of a pool, the value of a key of the configuration;
// false: nothing is.
func (k *check) secured(what, key string, u *config.Upstream, err error) bool {
	var pinned *client.PinError
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	var state string
	name := what + " " + u.URL
	switch {
	case errors.As(err, &pinned):
		state = "another key"
		k.fail(key+".pin", "%s: %v; it is either not that pool, or the pool has changed it", name, pinned)
	case errors.As(err, &certificate):
		state = "certificate refused"
		hint := ""
		if list := certificate.UnverifiedCertificates; len(list) > 0 {
			sum := sha256.Sum256(list[0].RawSubjectPublicKeyInfo)
			hint = fmt.Sprintf(`; "pin": "%x" takes it all the same, if the pool says that this is its key`, sum)
		}
		k.fail(key+".url", "%s: %v%s", name, certificate.Err, hint)
	case errors.As(err, &plain):
		state = "no TLS"
		k.fail(key+".url", "%s: does not speak TLS there: use stratum+tcp://, or its port for TLS", name)
	case u.TLS() && errors.Is(err, io.EOF):
		state = "no TLS"
		k.warn(key+".url", "%s: closed the connection before TLS was agreed on: is that its port for TLS?", name)
		k.unchecked = append(k.unchecked, name)
	default:
		return false
	}
	k.say(what, u.URL, state)
	return true
}
