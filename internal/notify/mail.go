package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/hostport"
)

// mailer is a service that takes messages by SMTP.
type mailer struct {
	target *config.Target
	trust  *tls.Config
}

func (m *mailer) send(ctx context.Context, n *Notice) error {
	letter, err := m.letter(n)
	if err != nil {
		return err
	}
	scheme, address, _ := strings.Cut(m.target.Server, "://")
	host, port, hasPort, err := hostport.Split(address)
	if err != nil {
		return err
	}
	if !hasPort {
		port = map[string]string{"smtp": "587", "smtps": "465"}[scheme]
	}
	trust := m.trust.Clone()
	trust.ServerName = host
	var d net.Dialer
	dialed, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return err
	}
	defer dialed.Close()
	defer context.AfterFunc(ctx, func() { dialed.Close() })()
	if until, ok := ctx.Deadline(); ok {
		_ = dialed.SetDeadline(until)
	}
	var c net.Conn = &boundedConn{dialed, mostSaid}
	if scheme == "smtps" {
		c = tls.Client(c, trust)
	}
	err = m.talk(c, host, trust, letter)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// mostSaid is what a server may say about one letter, in bytes: net/smtp keeps an answer in
// memory, however long it is.
const mostSaid = 1 << 20

// boundedConn is a connection from which so many bytes can be read.
type boundedConn struct {
	net.Conn
	left int
}

func (b *boundedConn) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, fmt.Errorf("the server says more than %d bytes", mostSaid)
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// talk hands a letter to the server that c leads to.
func (m *mailer) talk(c net.Conn, host string, trust *tls.Config, letter []byte) error {
	client, err := smtp.NewClient(c, host)
	if err != nil {
		return err
	}
	from, err := mail.ParseAddress(m.target.From)
	if err != nil {
		return err
	}
	_, domain, _ := strings.Cut(from.Address, "@")
	if err := client.Hello(domain); err != nil {
		return err
	}
	if _, secure := client.TLSConnectionState(); !secure {
		if ok, _ := client.Extension("STARTTLS"); ok {
			if err := client.StartTLS(trust); err != nil {
				return err
			}
		} else if !local(host) {
			return errors.New("the server has no STARTTLS: what it is told would go there in plain text")
		}
	}
	if m.target.Auth != "" {
		if err := m.login(client, host); err != nil {
			return err
		}
	}
	if err := client.Mail(from.Address); err != nil {
		return refusedMail(err)
	}
	var refused error
	var without []string // recipients
	taken := 0
	for _, to := range m.target.To {
		a, err := mail.ParseAddress(to)
		if err == nil {
			err = client.Rcpt(a.Address)
		}
		if err != nil {
			refused = refusedMail(err)
			without = append(without, to)
		} else {
			taken++
		}
	}
	if taken == 0 {
		return refused
	}
	w, err := client.Data()
	if err == nil {
		_, err = w.Write(letter)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return refusedMail(err)
	}
	_ = client.Quit() // it has the letter
	if len(without) > 0 {
		return &partly{fmt.Sprintf("to %s, others have it: %v", strings.Join(without, ", "), refused)}
	}
	return nil
}

// local tells that a host is this machine.
func local(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// login uses PLAIN, or where there is only that LOGIN, over TLS or on this machine.
func (m *mailer) login(c *smtp.Client, host string) error {
	ok, methods := c.Extension("AUTH")
	if !ok {
		return errors.New("the server has no AUTH: leave \"auth\" and \"pass\" out, or name another port")
	}
	how := smtp.PlainAuth("", m.target.Auth, m.target.Pass, host)
	if words := strings.Fields(strings.ToUpper(methods)); !slices.Contains(words, "PLAIN") && slices.Contains(words, "LOGIN") {
		how = &loginAuth{m.target.Auth, m.target.Pass, host}
	}
	return c.Auth(how)
}

// loginAuth is the method LOGIN, which net/smtp does not have.
type loginAuth struct{ user, pass, host string }

func (a *loginAuth) Start(server *smtp.ServerInfo) (string, []byte, error) {
	if !server.TLS && !local(a.host) {
		return "", nil, errors.New("unencrypted connection")
	}
	return "LOGIN", nil, nil
}

func (a *loginAuth) Next(question []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	switch strings.ToLower(strings.TrimSpace(string(question))) {
	case "username:":
		return []byte(a.user), nil
	case "password:":
		return []byte(a.pass), nil
	}
	return nil, fmt.Errorf("unexpected question of the server: %s", clean(string(question), 60))
}

// refusedMail is the error of a letter: an answer of 500 or above is final.
func refusedMail(err error) error {
	if p := (*textproto.Error)(nil); errors.As(err, &p) {
		return &refusal{text: fmt.Sprintf("SMTP status %d: %s", p.Code, clean(p.Msg, 200)), final: p.Code >= 500}
	}
	return err
}

// letter is a message with its header. No header has a line end of a stranger's: texts are
// encoded, and what is not text the configuration has looked at.
func (m *mailer) letter(n *Notice) ([]byte, error) {
	from, err := mail.ParseAddress(m.target.From)
	if err != nil {
		return nil, err
	}
	_, domain, _ := strings.Cut(from.Address, "@")
	var b bytes.Buffer
	for _, h := range [][2]string{
		{"From", m.target.From},
		{"To", strings.Join(m.target.To, ",\r\n ")},
		{"Subject", folded(encoded(oneLine(plain("[" + n.Pool + "] " + n.Title))))},
		{"Date", n.Time.Format(time.RFC1123Z)},
		{"Message-ID", "<" + fileOf(n.ID) + "@" + domain + ">"},
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	_, err = fmt.Fprintf(w, "%s\r\n\r\n%s\r\n", strings.ReplaceAll(plain(n.Text), "\n", "\r\n"), n.Time.Format("2006-01-02 15:04:05 UTC"))
	if err == nil {
		err = w.Close()
	}
	return b.Bytes(), err
}

// encoded is a text as encoded words (RFC 2047) unless it is as it stands: one that a stranger
// has written as such is shown so.
func encoded(s string) string {
	text := mime.QEncoding.Encode("utf-8", s)
	if text != s || !strings.Contains(s, "=?") {
		return text
	}
	const most = 45 // bytes, of which 75 letters come with what is around them
	var words []string
	for b := range slices.Chunk([]byte(s), most) {
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString(b)+"?=")
	}
	return strings.Join(words, " ")
}

// folded has a line for each encoded word: a line may not be as long as a name can make it
// (RFC 5322, 2.1.1).
func folded(s string) string { return strings.ReplaceAll(s, "?= =?", "?=\r\n =?") }

func oneLine(s string) string { return clean(s, maxTitle+maxName) }
