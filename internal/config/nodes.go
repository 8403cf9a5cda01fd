package config

import (
	"fmt"
	"strings"

	"github.com/ckpool/ckpool/bitcoind"
)

func (r *reader) readNodes(v value) error {
	list, err := v.elements(`an array of nodes [{"url", "auth", "pass"}]`)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		v.warnf(`"btcd" is an empty array, taking the default node`)
		return nil
	}
	r.Nodes = nil
	for _, e := range list {
		n := bitcoind.Config{}
		err := e.members(map[string]setter{
			"url":    hostPort(&n.URL),
			"auth":   text(&n.User),
			"pass":   secret(text(&n.Pass)),
			"cookie": path(&n.Cookie),
			"notify": boolean(&n.Notify),
			"zmq":    endpoints(&n.ZMQ),
		})
		if err != nil {
			v.file.note(err)
			continue
		}
		if hint := PeerPort(n.URL); hint != "" {
			e.warnf("%q: %s", e.member("url"), hint)
		}
		e.require("url")
		switch {
		case e.has("cookie"):
		case e.has("auth"), e.has("pass"):
			e.require("auth", "pass")
		default:
			v.file.note(v.file.at(e.StartOffset, &Error{
				Key: e.path, Want: `"cookie", or "auth" and "pass"`, Got: "neither",
				missing: []string{e.member("cookie"), e.member("auth"), e.member("pass")},
			}))
		}
		r.Nodes = append(r.Nodes, n)
	}
	return nil
}

// PeerPort tells of a port that nodes have for each other on one of the networks;
// "" for all others.
func PeerPort(url string) (hint string) {
	rpc := map[uint16]string{8333: "8332", 18333: "18332", 48333: "48332", 38333: "38332", 18444: "18443"}
	if _, port, err := splitURL(url); err == nil && rpc[port] != "" {
		hint = fmt.Sprintf("port %d is where nodes talk to each other; RPC is on port %s unless rpcport= of the node says otherwise", port, rpc[port])
	}
	return hint
}

func (r *reader) readRedirects(v value) error {
	for _, e := range v.oneOrMore() {
		var url string
		if err := hostPort(&url)(e); err != nil {
			return err
		}
		r.RedirectURLs = append(r.RedirectURLs, url)
	}
	return nil
}

const defaultZMQ = "tcp://127.0.0.1:28332"

// endpoints takes ZMQ publishers: an array, or one.
func endpoints(to *[]string) setter {
	return func(v value) error {
		list := []string{}
		for _, e := range v.oneOrMore() {
			s, err := e.text()
			rest, tcp := strings.CutPrefix(s, "tcp://")
			host, port, urlErr := splitURL(rest)
			socket := strings.HasPrefix(s, "ipc:///") && !strings.ContainsRune(s, 0)
			if err != nil || !socket && (!tcp || urlErr != nil || host == "" || port == 0) {
				return e.wants(`an endpoint like "` + defaultZMQ + `" or "ipc:///path"`)
			}
			list = append(list, s)
		}
		*to = list
		return nil
	}
}

// assignZMQ gives the endpoint that names no node to the first node without
// one. Nobody asked for the default, so it is only tried where it can work.
func (r *reader) assignZMQ() {
	for i := range r.Nodes {
		n := &r.Nodes[i]
		switch {
		case n.ZMQ != nil:
		case r.zmqBlock != nil:
			n.ZMQ = r.zmqBlock
			return
		case onThisMachine(n.URL):
			n.ZMQ = []string{defaultZMQ}
			return
		}
	}
}
