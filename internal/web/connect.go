package web

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	goqr "github.com/piglig/go-qr"
)

// minerHelp is what goes where in the settings of a kind of miner.
type minerHelp struct {
	Miner string
	Lines [][2]string // field and value
	Note  string
}

// helpFor is the settings of miners that are pointed at a listener.
func helpFor(l *listenerAnswer, user string) []minerHelp {
	const password = "x"
	whole := func(miner, note string) minerHelp {
		return minerHelp{miner, [][2]string{{"URL", l.URL}, {"Worker", user}, {"Password", password}}, note}
	}
	bitaxe := minerHelp{"Bitaxe, NerdQAxe and others with AxeOS",
		[][2]string{{"Stratum Host", l.Host}, {"Stratum Port", l.Port}, {"Stratum User", user}, {"Stratum Password", password}},
		"Host without stratum+tcp:// before it."}
	if l.TLS {
		bitaxe.Note = "Turn TLS on beside the port. " + bitaxe.Note
	}
	return []minerHelp{
		bitaxe,
		{"NerdMiner", [][2]string{{"Pool url", l.Host}, {"Pool port", l.Port}, {"Your BTC address", user}, {"Pool password", password}},
			"In its own Wi-Fi at the first start. It finds few shares: it is on the page from its first one."},
		whole("Antminer", "Miner configuration, Pool 1."),
		whole("Whatsminer", "Configuration, CGMiner configuration, Pool 1."),
		whole("Avalon", "Configuration, Pool 1."),
		whole("Braiins OS", "Configuration, Pools: a group with this one pool."),
		{"cgminer, bfgminer", [][2]string{{"command line", fmt.Sprintf("cgminer -o %s -u %s -p %s", l.URL, user, password)}}, ""},
	}
}

// serveQR is the picture of a listener's URL.
func (s *Server) serveQR(r *http.Request, _ time.Time) (*answer, error) {
	return qr(s.listeners(s.hostOf(r)), r)
}

// qr is the picture of the one of listeners that a request names by its place.
func qr(list []listenerAnswer, r *http.Request) (*answer, error) {
	n, err := strconv.Atoi(r.PathValue("n"))
	if err != nil || n < 1 || n > len(list) {
		return nil, errNoPage
	}
	code, err := goqr.EncodeText(list[n-1].URL, goqr.Medium)
	if err != nil {
		return nil, fmt.Errorf("QR code: %w", err)
	}
	const module, quiet = 1, 4 // of the picture; modules around it (ISO/IEC 18004, 9.1)
	b, err := code.ToSVGBytes(goqr.NewQrCodeImgConfig(module, quiet, goqr.WithOptimalSVG()))
	if err != nil {
		return nil, fmt.Errorf("QR code: %w", err)
	}
	return seal(http.StatusOK, "image/svg+xml", b), nil
}
