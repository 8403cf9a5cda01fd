package bitcoind

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseConfig(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]Config{
		"http://u:p@10.0.0.2:8332":                {URL: "10.0.0.2:8332", User: "u", Pass: "p"},
		"http://u@10.0.0.2:8332":                  {URL: "10.0.0.2:8332", User: "u"},
		"https://u:p@node.example:443/rpc":        {URL: "https://node.example:443/rpc", User: "u", Pass: "p"},
		"https://u:p@node.example":                {URL: "https://node.example", User: "u", Pass: "p"},
		"~/.bitcoin/.cookie":                      {URL: "127.0.0.1:8332", Cookie: "/home/me/.bitcoin/.cookie"},
		"/data/regtest/.cookie":                   {URL: "127.0.0.1:18443", Cookie: "/data/regtest/.cookie"},
		"/data/testnet3/.cookie":                  {URL: "127.0.0.1:18332", Cookie: "/data/testnet3/.cookie"},
		"/data/testnet4/.cookie":                  {URL: "127.0.0.1:48332", Cookie: "/data/testnet4/.cookie"},
		"/data/signet/.cookie":                    {URL: "127.0.0.1:38332", Cookie: "/data/signet/.cookie"},
		"/data/.cookie@10.0.0.2:18332":            {URL: "10.0.0.2:18332", Cookie: "/data/.cookie"},
		"/data/.cookie@https://node.example:8332": {URL: "https://node.example:8332", Cookie: "/data/.cookie"},
		dir: {URL: "127.0.0.1:8332", Cookie: dir},
	} {
		if got, err := ParseConfig(text, "/home/me"); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "cookie", "localhost:8332", "http://localhost:8332", "ftp://u:secret@h:1", "http://u:secret@:8332", "http://u:secret@h", "http://u:sec%ret@h:1"} {
		if got, err := ParseConfig(text, "/home/me"); err == nil || strings.Contains(err.Error(), "sec") {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

// Each case is the files of one data directory, DIR in the text of its bitcoin.conf. What
// its keys mean is as in Bitcoin Core's doc/bitcoin-conf.md.
func TestFind(t *testing.T) {
	for name, tt := range map[string]struct {
		conf    string
		cookies []string
		want    []Config
	}{
		"nothing":       {},
		"main":          {"", []string{".cookie"}, []Config{{URL: "127.0.0.1:8332", Cookie: "DIR/.cookie"}}},
		"stopped":       {"server=1\n", nil, nil},
		"other chains":  {"", []string{"signet/.cookie", "testnet4/.cookie"}, []Config{{URL: "127.0.0.1:48332", Cookie: "DIR/testnet4/.cookie"}, {URL: "127.0.0.1:38332", Cookie: "DIR/signet/.cookie"}}},
		"own first":     {"regtest=1\n[regtest]\nrpcport=20000\n", []string{".cookie", "regtest/.cookie"}, []Config{{URL: "127.0.0.1:20000", Cookie: "DIR/regtest/.cookie"}, {URL: "127.0.0.1:8332", Cookie: "DIR/.cookie"}}},
		"password":      {" rpcuser = me \nrpcpassword=a=b # no part of it\nrpcport=9000\n", nil, []Config{{URL: "127.0.0.1:9000", User: "me", Pass: "a=b"}}},
		"first counts":  {"rpcuser=one\nrpcuser=two\nrpcpassword=x\nrpcpassword=y\n", nil, []Config{{URL: "127.0.0.1:8332", User: "one", Pass: "x"}}},
		"of a chain":    {"chain=signet\nrpcuser=u\nsignet.rpcpassword=s\n[main]\nrpcpassword=m\n", nil, []Config{{URL: "127.0.0.1:38332", User: "u", Pass: "s"}}},
		"port of main":  {"testnet4=1\nrpcport=9000\nrpcuser=u\nrpcpassword=p\n", nil, []Config{{URL: "127.0.0.1:48332", User: "u", Pass: "p"}}},
		"elsewhere":     {"datadir=DIR/far\n", []string{"far/.cookie", "far/testnet3/.cookie"}, []Config{{URL: "127.0.0.1:8332", Cookie: "DIR/far/.cookie"}, {URL: "127.0.0.1:18332", Cookie: "DIR/far/testnet3/.cookie"}}},
		"cookie's name": {"rpccookiefile=key\n", []string{"key"}, []Config{{URL: "127.0.0.1:8332", Cookie: "DIR/key"}}},
		"cookie's path": {"rpccookiefile=DIR/run/key\n", []string{"run/key"}, []Config{{URL: "127.0.0.1:8332", Cookie: "DIR/run/key"}}},
		"publisher":     {"zmqpubhashblock=tcp://0.0.0.0:28999\n", []string{".cookie"}, []Config{{URL: "127.0.0.1:8332", Cookie: "DIR/.cookie", ZMQ: []string{"tcp://127.0.0.1:28999"}}}},
		"socket":        {"zmqpubhashblock=ipc:///run/zmq\n", []string{".cookie"}, []Config{{URL: "127.0.0.1:8332", Cookie: "DIR/.cookie", ZMQ: []string{"ipc:///run/zmq"}}}},
		"unix socket":   {"zmqpubhashblock=unix:/run/zmq\n", []string{".cookie"}, []Config{{URL: "127.0.0.1:8332", Cookie: "DIR/.cookie", ZMQ: []string{"ipc:///run/zmq"}}}},
		"socket of its": {"zmqpubhashblock=ipc://zmq\n", []string{".cookie"}, []Config{{URL: "127.0.0.1:8332", Cookie: "DIR/.cookie"}}},
		"no publisher":  {"zmqpubhashblock=28332\n", []string{".cookie"}, []Config{{URL: "127.0.0.1:8332", Cookie: "DIR/.cookie"}}},
		"turned off":    {"regtest=0\nsignet=0\n", []string{".cookie"}, []Config{{URL: "127.0.0.1:8332", Cookie: "DIR/.cookie"}}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(file, text string) {
				path := filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if tt.conf != "" {
				write("bitcoin.conf", strings.ReplaceAll(tt.conf, "DIR", dir))
			}
			for _, c := range tt.cookies {
				write(c, "__cookie__:0123")
			}
			place := Place{Conf: filepath.Join(dir, "bitcoin.conf"), Data: dir}
			got := Find([]Place{place, place}) // the second tells nothing new
			for i := range got {
				got[i].Cookie = strings.Replace(got[i].Cookie, dir, "DIR", 1)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestPlaces(t *testing.T) {
	want := []Place{{"/home/me/.bitcoin/bitcoin.conf", "/home/me/.bitcoin"}, {"/etc/bitcoin/bitcoin.conf", "/var/lib/bitcoind"}}
	if got := Places("/home/me"); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add("rpcuser=u\nrpcpassword=p\nregtest=1\n[regtest]\nrpcport=1\n")
	f.Add("signet.datadir=/x\nchain=signet\n# a comment\nzmqpubhashblock=tcp://[::]:1\n")
	f.Add("[\n]\n[]\n.=\n=.\na.b.c=d")
	f.Fuzz(func(t *testing.T, text string) {
		for _, c := range readSettings(strings.NewReader(text)).nodes("/nowhere") {
			if c.URL == "" || c.Cookie == "" && c.Pass == "" || c.Cookie != "" && !filepath.IsAbs(c.Cookie) || strings.ContainsRune(c.User+c.Pass, '\n') {
				t.Errorf("%+v", c)
			}
		}
	})
}
