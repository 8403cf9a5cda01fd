package demo

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/ckpool/ckpool/bitcoind"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
)

// settings are what this run does, from the options and the files of earlier
// runs.
type settings struct {
	edited bool // the configuration file is the user's
	listen string
	page   string          // where the pool's page is, empty nowhere
	miners string          // where the simulated ones connect
	node   bitcoind.Config // where one's own is to be started; empty URL: anywhere
	seed   string          // of the wallets
	payout string          // address that blocks pay, empty in solo mode
	users  []string        // of the simulated miners
	rates  []float64       // of theirs, shares a second
	where  []string        // they connect, one by one; nil: all at miners
	links  *links          // nil: there are none

	accounts   string // where ckdb's page is, empty nowhere
	nodeWallet string // URL of the node with a wallet, where there is one
	journal    string // directory that the pool writes, empty if it does not
}

const (
	// DefaultDir holds what is kept, where no other directory is named.
	DefaultDir    = "run"
	defaultListen = "127.0.0.1:3333"
	configFile    = "ckpool.conf"
)

func (d *demo) chooseSettings(n *node) (*settings, error) {
	s := &settings{listen: d.config.Listen, journal: filepath.Join("logs", "journal")}
	if s.listen == "" {
		s.listen = defaultListen
	}
	if _, _, err := net.SplitHostPort(s.listen); err != nil {
		return s, fmt.Errorf("LISTEN=%s: want host:port", s.listen)
	}
	var err error
	if d.config.Farm || d.config.Links { // the address that a person knows is the proxy's
		s.journal = ""
		if s.listen, err = freePort(); err != nil {
			return s, err
		}
	}
	if s.seed, err = d.seed(); err != nil {
		return s, err
	}
	s.payout = d.config.Address
	if d.config.Money {
		for _, name := range []string{"alice", "bob", "carol"} {
			s.users = append(s.users, s.wallet(name).Address()+"."+name)
		}
		s.rates = rates[:]
		return s, d.readConfig(s, n)
	}
	if d.config.Farm || d.config.Links {
		s.users, s.rates = []string{"rig1", "rig2", "rig3"}, []float64{2, 2, 2}
		return s, d.readConfig(s, n)
	}
	for i, name := range []string{"rig1", "rig2"} {
		// In solo mode each is paid at its own address.
		user := s.wallet("").Address()
		if d.config.Solo {
			user = s.wallet(name).Address()
		}
		if d.config.Address != "" && (i == 0 || !d.config.Solo) {
			user = d.config.Address
		}
		s.users = append(s.users, user+"."+name)
		s.rates = append(s.rates, 2)
	}
	return s, d.readConfig(s, n)
}

func (s *settings) wallet(name string) *btcd.Wallet { return btcd.NewWallet(s.seed + name) }

// seed is made on the first run and kept.
func (d *demo) seed() (string, error) {
	path := d.path("wallet")
	b, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("wallet: %w", err)
	}
	seed := rand.Text()
	if err := os.WriteFile(path, []byte(seed+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("wallet: %w", err)
	}
	return seed, nil
}

// parseNode reads NODE=.
func parseNode(text string) (bitcoind.Config, error) {
	home, _ := os.UserHomeDir() // only for ~
	c, err := bitcoind.ParseConfig(text, home)
	if err != nil {
		err = fmt.Errorf("NODE: %w", err)
	}
	return c, err
}

// signature stands behind the JSON of a file that make run wrote.
const signature = "\nWritten by make run, sum %x.\nChange anything above and make run keeps its hands off this file.\n"

func signed(body []byte) []byte {
	sum := sha256.Sum256(body)
	return fmt.Appendf(bytes.Clone(body), signature, sum[:8])
}

// readConfig takes what it says from a configuration file the user has changed.
func (d *demo) readConfig(s *settings, n *node) error {
	path := d.path(configFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if written(b) {
		c, _, err := config.Load(path, config.Pool)
		if err == nil && !n.foreign() {
			s.node.URL = stillFree(c.Nodes)
		}
		if err == nil && d.config.Farm && free(c.Servers[0].URL) == nil { // the proxy's user may have it in a file
			s.listen = c.Servers[0].URL
		}
		return nil
	}
	mode := config.Pool
	if d.config.Solo {
		mode = config.Solo
	}
	c, _, err := config.Load(path, mode)
	if err != nil {
		return err
	}
	if len(c.Nodes) == 0 || len(c.Servers) == 0 {
		return fmt.Errorf("%s names no node or no serverurl; remove it to have it written again", d.shown(configFile))
	}
	for _, o := range []struct{ name, given, there string }{
		{"LISTEN", d.config.Listen, c.Servers[0].URL}, {"NODE", n.config.URL, c.Nodes[0].URL}, {"ADDRESS", d.config.Address, c.BTCAddress},
	} {
		if o.given != "" && o.given != o.there {
			return fmt.Errorf("%s was changed by hand and has %s, so %s= has no effect: set it there, or remove the file",
				d.shown(configFile), cmp.Or(o.there, "none"), o.name)
		}
	}
	s.edited = true
	s.listen, s.page = c.Servers[0].URL, c.HTTP.Listen
	s.miners = c.Servers[len(c.Servers)-1].URL
	s.node = c.Nodes[0]
	s.payout = c.BTCAddress
	s.journal = c.Journal
	if c.Journal != "" && !filepath.IsAbs(c.Journal) {
		s.journal = filepath.Join(c.LogDir, c.Journal)
	}
	return nil
}

// stillFree is where one's own node listened in an earlier run, empty if it
// cannot any more: whoever uses that node finds it there again.
func stillFree(nodes []bitcoind.Config) string {
	if len(nodes) == 0 {
		return ""
	}
	l, err := net.Listen("tcp", nodes[0].URL)
	if err != nil {
		return ""
	}
	l.Close()
	return nodes[0].URL
}

// writeConfig writes the configuration of this run unless it is the user's.
func (d *demo) writeConfig(s *settings, n *node) error {
	if s.edited {
		return nil
	}
	var err error
	if s.page, err = d.freePage(poolPage); err != nil {
		return err
	}
	servers := []any{s.listen}
	var passthroughs, nodes []server
	journal := "journal"
	switch {
	case d.config.Farm:
		servers = []any{server{s.listen, halfOfHashes, halfOfHashes, halfOfHashes}}
		journal = ""
	case d.config.Links:
		passthroughs, nodes = s.links.servers()
		journal = ""
	case n.regtest():
		servers = append(servers, server{s.miners, everyHash, everyHash, everyHash})
	}
	c := struct {
		Nodes    []map[string]string `json:"btcd"`
		Address  string              `json:"btcaddress,omitempty"`
		Servers  []any               `json:"serverurl"`
		ForLinks []server            `json:"passthroughserver,omitempty"`
		ForNodes []server            `json:"nodeserver,omitempty"`
		High     int                 `json:"highdiff"` // nobody expects more of a port above 4000
		Page     string              `json:"http"`
		LogDir   string              `json:"logdir"`
		Journal  string              `json:"journal,omitempty"`
	}{
		Nodes:    []map[string]string{n.account()},
		ForLinks: passthroughs,
		ForNodes: nodes,
		Address:  s.payout,
		Servers:  servers,
		Page:     s.page,
		LogDir:   "logs",
		Journal:  journal,
	}
	b, err := json.MarshalIndent(c, "", "\t")
	if err != nil {
		return fmt.Errorf("%s: %w", configFile, err)
	}
	if err := os.WriteFile(d.path(configFile), signed(b), 0o640); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return nil
}

// Where pages are, unless somebody has that address.
const (
	poolPage    = "127.0.0.1:8080"
	accountPage = "127.0.0.1:8081"
)

// freePage is the address for a page: the usual one unless somebody has it.
func (d *demo) freePage(usual string) (string, error) {
	if d.config.sideBySide {
		return freePort()
	}
	l, err := net.Listen("tcp", usual)
	if err != nil {
		return freePort()
	}
	return usual, l.Close()
}

// account is the node's entry in a configuration.
func (n *node) account() map[string]string {
	if n.config.Cookie == "" {
		return map[string]string{"url": n.config.URL, "auth": n.config.User, "pass": n.config.Pass}
	}
	return map[string]string{"url": n.config.URL, "cookie": n.config.Cookie}
}
