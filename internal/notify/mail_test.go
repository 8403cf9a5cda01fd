package notify

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/testkit/certificate"
)

// smtpServer answers one connection after the other, as RFC 5321, 3207 and 4954 say.
type smtpServer struct {
	// immutable
	listener net.Listener
	tls      *tls.Config
	implicit bool              // TLS from the first byte
	auth     string            // methods; "" none
	answers  map[string]string // instead of its own, by command
	unknown  string            // a recipient that it does not take; "" takes all
	lines    chan string       // what it was told
	letters  chan string
}

func (s *smtpServer) serve(t *testing.T) {
	var err error
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.lines, s.letters = make(chan string, 100), make(chan string, 10)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := s.listener.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			s.talk(c)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		s.listener.Close()
		<-ended
	})
}

func (s *smtpServer) talk(c net.Conn) {
	secure := s.implicit
	if s.implicit {
		c = tls.Server(c, s.tls)
	}
	r := bufio.NewReader(c)
	say := func(format string, args ...any) { fmt.Fprintf(c, format+"\r\n", args...) }
	say("220 mail.example ESMTP")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		s.lines <- line
		word, _, _ := strings.Cut(strings.ToUpper(line), " ")
		if answer, ok := s.answers[word]; ok {
			if answer == "" {
				return
			}
			say("%s", answer)
			continue
		}
		if s.unknown != "" && line == "RCPT TO:"+s.unknown {
			say("550 no such user")
			continue
		}
		switch word {
		case "EHLO":
			fmt.Fprint(c, "250-mail.example\r\n")
			if s.tls != nil && !secure {
				fmt.Fprint(c, "250-STARTTLS\r\n")
			}
			if s.auth != "" {
				fmt.Fprintf(c, "250-AUTH %s\r\n", s.auth)
			}
			say("250 8BITMIME")
		case "STARTTLS":
			say("220 go ahead")
			c = tls.Server(c, s.tls)
			r, secure = bufio.NewReader(c), true
		case "AUTH":
			if strings.HasPrefix(line, "AUTH LOGIN") {
				for _, question := range []string{"Username:", "Password:"} {
					say("334 %s", base64.StdEncoding.EncodeToString([]byte(question)))
					answer, _ := r.ReadString('\n')
					s.lines <- strings.TrimRight(answer, "\r\n")
				}
			}
			say("235 welcome")
		case "DATA":
			say("354 go ahead")
			var letter strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				letter.WriteString(strings.TrimPrefix(line, "."))
			}
			s.letters <- letter.String()
			say("250 queued")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// said is what the server was told up to now.
func (s *smtpServer) said() (lines []string) {
	for {
		select {
		case line := <-s.lines:
			lines = append(lines, line)
		default:
			return lines
		}
	}
}

func mailTarget(scheme string, s *smtpServer) config.Target {
	return config.Target{
		Name: "email", Service: "email", Server: scheme + "://" + s.listener.Addr().String(),
		From: `"Pööl" <pool@pool.example>`, To: []string{"<a@b.example>", "<c@d.example>"},
	}
}

func secured(t *testing.T, name string) (*tls.Config, *x509.CertPool) {
	pair := certificate.New(t, name, 1).TLS(t)
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	return &tls.Config{Certificates: []tls.Certificate{pair}}, roots
}

// A letter is one whose headers say what they are to, whatever a worker is called.
func TestMail(t *testing.T) {
	server, roots := secured(t, "127.0.0.1")
	for _, tt := range []struct {
		name, scheme string
		s            smtpServer
		auth         bool
		login        []string
	}{
		{"plain, on this machine", "smtp", smtpServer{}, false, nil},
		{"STARTTLS", "smtp", smtpServer{tls: server}, false, []string{"STARTTLS"}},
		{"STARTTLS and PLAIN", "smtp", smtpServer{tls: server, auth: "LOGIN PLAIN"}, true, []string{"STARTTLS", "AUTH PLAIN AHVzZXIAczNjcmV0"}},
		{"TLS and LOGIN", "smtps", smtpServer{tls: server, implicit: true, auth: "LOGIN"}, true, []string{"AUTH LOGIN", "dXNlcg==", "czNjcmV0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.s.serve(t)
			target := mailTarget(tt.scheme, &tt.s)
			if tt.auth {
				target.Auth, target.Pass = "user", "s3cret"
			}
			n := hostileNotice()
			n.Workers[0] = "bob.x\r\nBcc: victim@example.org\r\n.\r\nQUIT"
			n.Pool = clean("Pool\r\nX: y", maxName)
			n.compose()
			if err := send(t.Context(), &target, serviceOf(&target, roots), n); err != nil {
				t.Fatal(err)
			}
			var talk []string
			for _, line := range tt.s.said() {
				if !strings.HasPrefix(line, "EHLO") {
					talk = append(talk, line)
				} else if line != "EHLO pool.example" {
					t.Errorf("%s", line)
				}
			}
			want := append(tt.login, "MAIL FROM:<pool@pool.example> BODY=8BITMIME", "RCPT TO:<a@b.example>", "RCPT TO:<c@d.example>", "DATA", "QUIT")
			if diff := cmp.Diff(want, talk); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			checkLetter(t, <-tt.s.letters)
		})
	}
}

func checkLetter(t *testing.T, text string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var names []string
	for line := range strings.Lines(text) {
		if line == "\r\n" {
			break
		}
		if name, _, ok := strings.Cut(line, ": "); ok && line[0] != ' ' {
			names = append(names, name)
		}
	}
	if diff := cmp.Diff([]string{"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"}, names); diff != "" {
		t.Errorf("headers, -want +got:\n%s", diff)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if want := "[Pool..X: y] Worker bob.x..Bcc: victim@example.org.....QUIT is down"; subject != want || err != nil {
		t.Errorf("subject %q, %v", subject, err)
	}
	from, err := m.Header.AddressList("From")
	if err != nil || from[0].Name != "Pööl" || from[0].Address != "pool@pool.example" {
		t.Errorf("from %v, %v", from, err)
	}
	if to, err := m.Header.AddressList("To"); err != nil || len(to) != 2 || to[1].Address != "c@d.example" {
		t.Errorf("to %v, %v", to, err)
	}
	if date, err := m.Header.Date(); err != nil || !date.Equal(hostileNotice().Time) {
		t.Errorf("date %v, %v", date, err)
	}
	if id := m.Header.Get("Message-ID"); id != "<"+fileOf("worker_down-x-1")+"@pool.example>" {
		t.Errorf("id %s", id)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if want := "No share for 10m 0s.\r\n\r\n2026-11-30 12:00:00 UTC\r\n"; string(body) != want || err != nil {
		t.Errorf("body %q, %v", body, err)
	}
}

// Servers that do not take a letter, and those that are not to have it.
func TestMailRefused(t *testing.T) {
	server, roots := secured(t, "127.0.0.1")
	other, _ := secured(t, "127.0.0.1")
	auth := func(target *config.Target) { target.Auth, target.Pass = "user", "s3cret" }
	for _, tt := range []struct {
		name, scheme string
		s            smtpServer
		change       func(*config.Target)
		want         string
		final        bool
	}{
		{"sender", "smtp", smtpServer{answers: map[string]string{"MAIL": "550 no s3cret such sender"}}, unchanged, "SMTP status 550: no s3cret such sender", true},
		{"recipients", "smtp", smtpServer{answers: map[string]string{"RCPT": "550 no such user"}}, unchanged, "SMTP status 550: no such user", true},
		{"later", "smtp", smtpServer{answers: map[string]string{"RCPT": "451 greylisted"}}, unchanged, "SMTP status 451: greylisted", false},
		{"password", "smtp", smtpServer{tls: server, auth: "PLAIN", answers: map[string]string{"AUTH": "535 s3cret is wrong"}}, auth, "… is wrong", false},
		{"no AUTH", "smtp", smtpServer{tls: server}, auth, "the server has no AUTH", false},
		{"cut off", "smtp", smtpServer{answers: map[string]string{"DATA": ""}}, unchanged, "EOF", false},
		{"certificate", "smtp", smtpServer{tls: other}, unchanged, "certificate signed by unknown authority", false},
		{"certificate of smtps", "smtps", smtpServer{tls: other, implicit: true}, unchanged, "certificate signed by unknown authority", false},
		{"smtps without TLS", "smtps", smtpServer{}, unchanged, "first record does not look like a TLS handshake", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.s.serve(t)
			target := mailTarget(tt.scheme, &tt.s)
			tt.change(&target)
			err := send(t.Context(), &target, serviceOf(&target, roots), hostileNotice())
			r := (*refusal)(nil)
			final := errors.As(err, &r) && r.final
			if err == nil || !strings.Contains(err.Error(), tt.want) || final != tt.final {
				t.Errorf("%v, final %v", err, final)
			}
		})
	}
}

// Where one of two is refused the letter is there, once, and whose it is not is told.
func TestMailForSome(t *testing.T) {
	s := smtpServer{unknown: "<c@d.example>"}
	s.serve(t)
	target := mailTarget("smtp", &s)
	target.Name = "ops"
	const want = "to <c@d.example>, others have it: SMTP status 550: no such user"
	if err := Test(t.Context(), target, "pool", time.Now()); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	q, err := openQueue(filepath.Join(t.TempDir(), "ops"))
	if err != nil {
		t.Fatal(err)
	}
	said := &sayings{}
	n := hostileNotice()
	if _, err := q.add(n); err != nil {
		t.Fatal(err)
	}
	sender := &sender{target: target, service: serviceOf(&target, nil), queue: q, events: said.tell}
	sender.try(t.Context(), q.entries[0])
	if lines := said.take(); len(lines) != 1 || lines[0] != "Notification for ops not sent "+want || len(q.entries) != 0 || len(s.letters) != 2 {
		t.Errorf("%q, %d wait, %d letters", lines, len(q.entries), len(s.letters))
	}
}

// A server whose answer has no end does not fill the memory.
func TestMailEndless(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const most = 64 << 20 // far more than sockets hold
	said := make(chan int, 1)
	go func() {
		n := 0
		defer func() { said <- n }()
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		for b := bytes.Repeat([]byte("x"), 64<<10); n < most; {
			k, err := c.Write(b)
			if n += k; err != nil {
				return
			}
		}
	}()
	target := config.Target{Name: "email", Service: "email", Server: "smtp://" + l.Addr().String(), From: "<pool@pool.example>", To: []string{"<a@b.example>"}}
	err = send(t.Context(), &target, serviceOf(&target, nil), hostileNotice())
	if n := <-said; err == nil || n >= most {
		t.Errorf("after %d bytes: %v", n, err)
	}
}

// unchanged changes nothing.
func unchanged(*config.Target) {}

// To another machine nothing goes in plain text, neither a letter nor a password.
func TestMailPlain(t *testing.T) {
	for _, change := range []func(*config.Target){unchanged, func(target *config.Target) { target.Auth, target.Pass = "user", "s3cret" }} {
		s := smtpServer{auth: "PLAIN LOGIN"}
		s.serve(t)
		target := mailTarget("smtp", &s)
		change(&target)
		c, err := net.Dial("tcp", s.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		m := &mailer{&target, &tls.Config{MinVersion: tls.VersionTLS12}}
		if err := m.talk(c, "mail.example", m.trust, []byte("x")); err == nil || !strings.Contains(err.Error(), "no STARTTLS") {
			t.Errorf("%v", err)
		}
		c.Close()
		for _, line := range s.said() {
			if !strings.HasPrefix(line, "EHLO") {
				t.Errorf("it was told %s", line)
			}
		}
	}
}

// No line of a letter has more than 998 bytes (RFC 5322, 2.1.1), however a worker is called:
// names have 255 bytes, and that of the pool 64.
func TestLongSubject(t *testing.T) {
	m := &mailer{target: &config.Target{From: "<pool@pool.example>", To: []string{"<a@b.example>"}}}
	name := "bob." + strings.Repeat("鉱", 83)
	n := &Notice{ID: "a", Event: config.EventWorkerDown, Severity: warning, Pool: strings.Repeat("p", 64), Workers: []string{name}, Count: 1, Users: 1}
	n.compose()
	letter, err := m.letter(n)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(letter), "\r\n") {
		if len(line) > 998 {
			t.Errorf("%d bytes: %s", len(line), line)
		}
	}
	parsed, err := mail.ReadMessage(bytes.NewReader(letter))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := new(mime.WordDecoder).DecodeHeader(parsed.Header.Get("Subject")); err != nil || got != "["+n.Pool+"] Worker "+name+" is down" {
		t.Errorf("%q, %v", got, err)
	}
}

// What a stranger has called his worker is in the subject as it is, also where it looks like a
// text of another kind (RFC 2047), which could be a link.
func TestSubjectAsItIs(t *testing.T) {
	m := &mailer{target: &config.Target{From: "<pool@pool.example>", To: []string{"<a@b.example>"}}}
	for _, name := range []string{
		"bob. =?utf-8?q?http=3A=2F=2Fevil.example?= ", "bob.=?utf-8?b?4oCu?=", "bob.=?", "bob.?= =?", "bob.ä =?utf-8?q?=E2=80=AE?=", "bob." + strings.Repeat("=?utf-8?q?=41?= ", 5),
	} {
		n := &Notice{ID: "a", Event: config.EventWorkerDown, Severity: warning, Pool: "pool", Workers: []string{name}, Count: 1, Users: 1}
		n.compose()
		letter, err := m.letter(n)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := mail.ReadMessage(bytes.NewReader(letter))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := new(mime.WordDecoder).DecodeHeader(parsed.Header.Get("Subject")); err != nil || got != "[pool] Worker "+name+" is down" {
			t.Errorf("%q is shown as %q, %v", name, got, err)
		}
	}
}

// No header of a letter has a line of a stranger's, whatever he is called.
func FuzzLetter(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		m := &mailer{target: &config.Target{From: "<pool@pool.example>", To: []string{"<a@b.example>"}}}
		n := hostileNotice()
		n.Workers[0], n.Pool = name, clean(name, maxName)
		n.compose()
		letter, err := m.letter(n)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := bytes.Cut(letter, []byte("\r\n\r\n"))
		for i, line := range strings.Split(string(head), "\r\n") {
			if strings.ContainsAny(line, "\r\n") || line != "" && line[0] != ' ' && !strings.Contains(line[:min(len(line), 30)], ": ") {
				t.Errorf("line %d: %q", i, line)
			}
		}
		if parsed, err := mail.ReadMessage(bytes.NewReader(letter)); err != nil || len(parsed.Header) != 9 {
			t.Errorf("%v: %s", err, letter)
		}
	})
}
