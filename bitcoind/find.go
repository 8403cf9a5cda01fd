package bitcoind

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// chains of Bitcoin Core, the one that most are on first.
var chains = []struct {
	name    string // in getblockchaininfo, and of its section in bitcoin.conf
	dir     string // below the data directory
	rpcPort string
}{
	{"main", "", "8332"},
	{"testnet4", "testnet4", "48332"},
	{"signet", "signet", "38332"},
	{"test", "testnet3", "18332"},
	{"regtest", "regtest", "18443"},
}

var errNode = errors.New("want http://user:pass@host:port, https likewise, or the node's cookie file: " +
	"/home/you/.bitcoin/.cookie, and behind it @host:port for a node elsewhere")

// ParseConfig reads a node as somebody types it: http[s]://user[:pass]@host:port or
// COOKIE[@host:port], where the cookie is a file or the directory it is in, and ~ is
// home. Without a port it is that of the chain whose directory the cookie is in. The
// error does not repeat the text, which may have a password.
func ParseConfig(text, home string) (Config, error) {
	if !strings.Contains(text, "://") || strings.HasPrefix(text, "/") || strings.HasPrefix(text, ".") || strings.HasPrefix(text, "~") {
		return parseCookie(text, home)
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User.Username() == "" {
		return Config{}, errNode
	}
	if u.Port() == "" && u.Scheme == "http" {
		return Config{}, errors.New("the port is missing; Bitcoin Core has 8332 on main, 18443 on regtest")
	}
	password, _ := u.User.Password()
	c := Config{URL: u.Host, User: u.User.Username(), Pass: password}
	if u.Scheme == "https" {
		c.URL = "https://" + u.Host + u.Path
	}
	return c, nil
}

func parseCookie(text, home string) (c Config, err error) {
	file, at := text, ""
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		file, at = text[:i], text[i+1:]
	}
	if !strings.Contains(file, "/") {
		return c, errNode
	}
	if rest, ok := strings.CutPrefix(file, "~/"); ok && home != "" {
		file = filepath.Join(home, rest)
	}
	if file, err = filepath.Abs(file); err != nil {
		return c, err
	}
	dir := file
	if info, err := os.Stat(file); err != nil || !info.IsDir() {
		dir = filepath.Dir(file)
	}
	port := chains[0].rpcPort
	for _, chain := range chains {
		if filepath.Base(dir) == chain.dir {
			port = chain.rpcPort
		}
	}
	return Config{URL: cmp.Or(at, "127.0.0.1:"+port), Cookie: file}, nil
}

// Place is where a node of this machine keeps its files.
type Place struct {
	Conf string // its bitcoin.conf, which need not be there
	Data string // its data directory, unless the file says another
}

// Places are where Bitcoin Core has its files without further words: those of the user
// whose home it is, and those of the system, as in the unit for systemd that comes with it.
func Places(home string) []Place {
	return []Place{
		{filepath.Join(home, ".bitcoin", "bitcoin.conf"), filepath.Join(home, ".bitcoin")},
		{"/etc/bitcoin/bitcoin.conf", "/var/lib/bitcoind"},
	}
}

// Find returns what is needed to ask the nodes at these places, of each chain that there
// is a cookie file or a password for. Whether any of them runs is not known, nor whether
// its cookie file may be read.
func Find(places []Place) (found []Config) {
	for _, p := range places {
		f, err := os.Open(p.Conf)
		conf := settings{}
		if err == nil {
			conf = readSettings(f)
			f.Close()
		}
		for _, c := range conf.nodes(p.Data) {
			if !slices.ContainsFunc(found, func(o Config) bool { return o.URL == c.URL && o.Cookie == c.Cookie && o.User == c.User }) {
				found = append(found, c)
			}
		}
	}
	return found
}

// settings are those of a bitcoin.conf, by section and key: "" is the section before all
// others. Of several values the first counts, as in Bitcoin Core.
type settings map[[2]string]string

// maxSettings bounds what is read of a bitcoin.conf, in bytes.
const maxSettings = 1 << 20

// readSettings takes what it understands.
func readSettings(r io.Reader) settings {
	s := settings{}
	section := ""
	in := bufio.NewScanner(io.LimitReader(r, maxSettings))
	for in.Scan() {
		line := in.Text()
		if i := strings.IndexByte(line, '#'); i >= 0 {
			line = line[:i]
		}
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			section = line[1 : len(line)-1]
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		at := [2]string{section, strings.TrimSpace(key)}
		if before, after, ok := strings.Cut(at[1], "."); ok && section == "" {
			at = [2]string{before, after}
		}
		if _, ok := s[at]; !ok {
			s[at] = strings.TrimSpace(value)
		}
	}
	return s
}

// chain is the one that the file starts the node on.
func (s settings) chain() string {
	for _, c := range []struct{ key, chain string }{
		{"regtest", "regtest"}, {"signet", "signet"}, {"testnet4", "testnet4"}, {"testnet", "test"},
	} {
		if v, ok := s[[2]string{"", c.key}]; ok && v != "0" {
			return c.chain
		}
	}
	return cmp.Or(s[[2]string{"", "chain"}], "main")
}

// value is that of a key on a chain; one of a single network has none from before the
// sections but on main.
func (s settings) value(chain, key string, network bool) string {
	v := s[[2]string{chain, key}]
	if v == "" && (!network || chain == "main") {
		v = s[[2]string{"", key}]
	}
	return v
}

// nodes are those of all chains there is a trace of, the file's own chain first.
func (s settings) nodes(data string) (list []Config) {
	for _, chain := range chains {
		dir := filepath.Join(cmp.Or(s.value(chain.name, "datadir", false), data), chain.dir)
		c := Config{URL: "127.0.0.1:" + cmp.Or(s.value(chain.name, "rpcport", true), chain.rpcPort)}
		if endpoint := localEndpoint(s.value(chain.name, "zmqpubhashblock", false)); endpoint != "" {
			c.ZMQ = []string{endpoint}
		}
		own := chain.name == s.chain()
		if password := s.value(chain.name, "rpcpassword", false); password != "" {
			c.User, c.Pass = s.value(chain.name, "rpcuser", false), password // then there is no cookie file
		} else {
			c.Cookie = cmp.Or(s.value(chain.name, "rpccookiefile", false), ".cookie")
		}
		// A password, or a file at one place, does not tell which other chains are in use.
		shared := c.Cookie == "" || filepath.IsAbs(c.Cookie)
		if !shared {
			c.Cookie = filepath.Join(dir, c.Cookie)
		}
		if _, err := os.Stat(c.Cookie); c.Cookie != "" && err != nil {
			continue
		}
		switch {
		case own:
			list = append([]Config{c}, list...)
		case !shared:
			list = append(list, c)
		}
	}
	return list
}

// localEndpoint is where a publisher of this machine is connected to; "" where it cannot be.
func localEndpoint(bind string) string {
	if path, ok := strings.CutPrefix(bind, "unix:/"); ok { // as Bitcoin Core 28 may have it
		bind = "ipc:///" + path
	}
	if strings.HasPrefix(bind, "ipc:///") {
		return bind
	}
	address, ok := strings.CutPrefix(bind, "tcp://")
	host, port, err := net.SplitHostPort(address)
	if !ok || err != nil {
		return ""
	}
	ip, err := netip.ParseAddr(host)
	if host == "*" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "tcp://" + net.JoinHostPort(host, port)
}
