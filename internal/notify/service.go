package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/ckpool/ckpool/internal/config"
)

// sendTime is for one message to get to its target.
const sendTime = 30 * time.Second

// service is where the messages of one target go. send is not called twice at a time; ctx
// ends after a while. An error of another type than *refusal is worth another try.
type service interface {
	send(ctx context.Context, n *Notice) error
}

// refusal is an answer of a target that did not take a message.
type refusal struct {
	text  string
	after time.Duration // that it wants not to be asked for; 0: it did not say
	final bool          // it will not take this message later either
}

func (r *refusal) Error() string { return r.text }

// partly is an answer of a target that took a message, but not for all whom it is for. It
// is not sent again: the others would have it twice.
type partly struct{ text string }

func (p *partly) Error() string { return p.text }

// serviceOf makes the service of a target. roots are who may sign the certificates of
// servers; nil: whom the system trusts.
func serviceOf(t *config.Target, roots *x509.CertPool) service {
	trust := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	switch t.Service {
	case config.ServiceEmail:
		return &mailer{t, trust}
	case config.ServiceCommand:
		return &program{t}
	}
	client := &http.Client{
		// Without a proxy of the environment: what the file says is all that counts.
		Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, TLSClientConfig: trust, TLSHandshakeTimeout: 10 * time.Second,
			ForceAttemptHTTP2: true, MaxIdleConns: 1, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &poster{t, client, map[string]func(*config.Target, *Notice) (*http.Request, error){
		config.ServiceWebhook: webhook, config.ServiceNtfy: ntfy, config.ServiceTelegram: telegram,
		config.ServiceDiscord: discord, config.ServiceSlack: slack,
	}[t.Service]}
}

// Send sends a notice at once. The error is in a line and without secrets.
func send(ctx context.Context, t *config.Target, s service, n *Notice) error {
	limit := sendTime
	if t.Service == config.ServiceCommand {
		limit = t.Timeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := s.send(ctx, n)
	if err == nil {
		return nil
	}
	if r := (*refusal)(nil); errors.As(err, &r) {
		r.text = withoutSecrets(t, r.text)
		return r
	}
	if p := (*partly)(nil); errors.As(err, &p) {
		p.text = withoutSecrets(t, p.text)
		return p
	}
	return errors.New(withoutSecrets(t, cause(err)))
}

// Test sends a test message to a target. The error says why it did not get there, in a
// line and without secrets.
func Test(ctx context.Context, t config.Target, pool string, now time.Time) error {
	n := &Notice{ID: fmt.Sprintf("test-%d", now.UnixNano()), Event: eventTest, Time: now.UTC(), Severity: info, Pool: pool}
	n.compose()
	return send(ctx, &t, serviceOf(&t, nil), n)
}

// cause is what an error says without the URL that was asked for, which may be a secret.
func cause(err error) string {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return "no answer in time"
	}
	return clean(err.Error(), 300)
}

// withoutSecrets takes the secrets of a target out of what others say.
func withoutSecrets(t *config.Target, text string) string {
	secrets := []string{t.URL, t.Token, t.Secret, t.Pass}
	if u, err := url.Parse(t.URL); err == nil {
		secrets = append(secrets, u.RequestURI())
	}
	for _, s := range secrets {
		if len(s) > 3 {
			text = strings.ReplaceAll(text, s, "…")
		}
	}
	return text
}
