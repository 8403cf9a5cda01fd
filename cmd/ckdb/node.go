package main

import (
	"errors"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/ckpool/ckpool/bitcoind"
)

// nodeOptions are how the node, which knows what became of blocks, and its wallet, which
// has the coins, are reached.
type nodeOptions struct {
	nodeURL string // host:port, or a whole URL; empty: none was named
	cookie  string // file, or its directory; empty: none
	wallet  string // its name; empty: the only one of the node
}

const envNode = "CKDB_NODE"

// nodeTime is what a wallet with many coins may take.
const nodeTime = time.Minute

func (n *nodeOptions) set(fs *pflag.FlagSet) {
	fs.StringVar(&n.nodeURL, "node", "", "`URL` of the node's RPC, http://USER:PASSWORD@HOST:PORT; without it $CKDB_NODE, whose password others do not see in the list of processes")
	fs.StringVar(&n.cookie, "cookie", "", "`FILE` of the node's cookie, or its directory, instead of user and password")
	fs.StringVar(&n.wallet, "wallet", "", "`NAME` of the node's wallet that has the pool's coins; without it the only one that is loaded")
}

func (n *nodeOptions) resolve() error {
	if n.nodeURL == "" {
		n.nodeURL = os.Getenv(envNode)
	}
	if n.nodeURL == "" && (n.cookie != "" || n.wallet != "") {
		return errors.New("--cookie and --wallet are for --node, which names the node")
	}
	return nil
}

// errNoNode tells that no node was named.
var errNoNode = errors.New("no node is named: --node http://USER:PASSWORD@HOST:PORT does, or $" + envNode)

// node is the client of the node; nil: none was named.
func (n *nodeOptions) node() *bitcoind.Client {
	if n.nodeURL == "" {
		return nil
	}
	return bitcoind.NewClient(bitcoind.Config{URL: n.nodeURL, Cookie: n.cookie}, bitcoind.Options{Timeout: nodeTime})
}

// walletNode is the client whose calls are for the wallet; nil: no node was named.
func (n *nodeOptions) walletNode() *bitcoind.Client {
	if n.nodeURL == "" || n.wallet == "" {
		return n.node()
	}
	return bitcoind.NewClient(bitcoind.Config{
		URL: strings.TrimRight(n.nodeURL, "/") + "/wallet/" + url.PathEscape(n.wallet), Cookie: n.cookie,
	}, bitcoind.Options{Timeout: nodeTime})
}
