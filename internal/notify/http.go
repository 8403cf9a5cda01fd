package notify

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/internal/config"
)

// poster is a service that takes messages by HTTP.
type poster struct {
	target  *config.Target
	client  *http.Client
	request func(*config.Target, *Notice) (*http.Request, error)
}

// longestPause is the longest that a service may ask for.
const longestPause = 24 * time.Hour

func (p *poster) send(ctx context.Context, n *Notice) error {
	request, err := p.request(p.target, n)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "ckpool")
	response, err := p.client.Do(request.WithContext(ctx))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	const most = 64 << 10 // so that the connection may be used again
	body, err := io.ReadAll(io.LimitReader(response.Body, most))
	code := response.StatusCode
	if code/100 == 2 {
		return nil // whatever became of the body
	}
	if err != nil {
		return err
	}
	answer := parseAnswer(body)
	r := &refusal{text: fmt.Sprintf("HTTP status %d", code), after: min(cmp.Or(retryAfter(response.Header.Get("Retry-After"), time.Now()), answer.after), longestPause)}
	switch code {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		r.final = true
	}
	if code/100 == 3 {
		r.text += ": it redirects to another address, which is not followed"
	} else if answer.text != "" {
		r.text += ": " + clean(answer.text, 200)
	}
	return r
}

// retryAfter reads a header: seconds, or a date. 0 is none.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseFloat(header, 64); err == nil && seconds >= 0 {
		return duration(seconds)
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// duration is that of so many seconds, however many.
func duration(seconds float64) time.Duration {
	return time.Duration(min(max(seconds, 0), longestPause.Seconds()) * float64(time.Second))
}

// answer is what a service said.
type answer struct {
	text  string
	after time.Duration
}

// parseAnswer reads the body of an answer that is no success: an object of Telegram,
// Discord or ntfy, or text.
func parseAnswer(body []byte) answer {
	var object struct {
		Description string  `json:"description"` // Telegram
		Message     string  `json:"message"`     // Discord
		Error       any     `json:"error"`       // ntfy: a text
		RetryAfter  float64 `json:"retry_after"` // Discord
		Parameters  struct {
			RetryAfter float64 `json:"retry_after"`
		} `json:"parameters"` // Telegram
	}
	if json.Unmarshal(body, &object) != nil {
		if bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) { // a page for people
			return answer{}
		}
		line, _, _ := bytes.Cut(bytes.TrimSpace(body), []byte("\n"))
		return answer{text: string(line)}
	}
	text, _ := object.Error.(string)
	return answer{cmp.Or(object.Description, object.Message, text), duration(max(object.RetryAfter, object.Parameters.RetryAfter))}
}

// post makes a request with an object as its body.
func post(to string, object any) (*http.Request, error) {
	body, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest(http.MethodPost, to, bytes.NewReader(body))
	if err == nil {
		request.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	return request, err
}

// webhook signs as Standard Webhooks 1.0 says.
func webhook(t *config.Target, n *Notice) (*http.Request, error) {
	request, err := post(t.URL, n.outside())
	if err != nil {
		return nil, err
	}
	body, err := request.GetBody()
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	request.Header.Set("Webhook-Id", n.ID)
	request.Header.Set("Webhook-Timestamp", now)
	if t.Secret != "" {
		request.Header.Set("Webhook-Signature", signature(t.WebhookKey(), n.ID, now, content))
	}
	return request, nil
}

// signature is "v1," and in base64 the HMAC-SHA256 of id, time and body, between points.
func signature(key []byte, id, seconds string, body []byte) string {
	h := hmac.New(sha256.New, key)
	fmt.Fprintf(h, "%s.%s.%s", id, seconds, body)
	return "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// ntfy publishes in JSON, to the root of the server: nothing of a message stands in a header.
func ntfy(t *config.Target, n *Notice) (*http.Request, error) {
	to, err := url.Parse(t.URL)
	if err != nil {
		return nil, err
	}
	topic := path.Base(to.Path)
	to.Path, to.RawPath = strings.TrimSuffix(path.Dir(to.Path), "/")+"/", ""
	request, err := post(to.String(), struct {
		Topic    string   `json:"topic"`
		Title    string   `json:"title"`
		Message  string   `json:"message"`
		Priority int      `json:"priority"` // 3 is the default, 5 the highest
		Tags     []string `json:"tags,omitempty"`
	}{topic, plain(n.Title), cmp.Or(plain(n.Text), plain(n.Title)), map[string]int{info: 3, warning: 4, critical: 5}[n.Severity], tags(n)})
	if err != nil {
		return nil, err
	}
	if t.Token != "" {
		request.Header.Set("Authorization", "Bearer "+t.Token)
	} else if t.Auth != "" {
		request.SetBasicAuth(t.Auth, t.Pass)
	}
	return request, nil
}

// tags become pictures before the title.
func tags(n *Notice) []string {
	switch {
	case n.Event == config.EventBlockFound:
		return []string{"tada"}
	case n.Resolved:
		return []string{"white_check_mark"}
	case n.Severity != info:
		return []string{"warning"}
	}
	return nil
}

// both are title and text as one message.
func both(n *Notice) string {
	if n.Text == "" {
		return n.Title
	}
	return n.Title + "\n" + n.Text
}

func telegram(t *config.Target, n *Notice) (*http.Request, error) {
	const longest = 4096 // after entities are parsed
	return post(strings.TrimSuffix(t.URL, "/")+"/bot"+t.Token+"/sendMessage", struct {
		Chat        string          `json:"chat_id"`
		Text        string          `json:"text"`
		ParseMode   string          `json:"parse_mode"`
		LinkPreview map[string]bool `json:"link_preview_options"`
	}{t.Chat, fit(both(n), longest, telegramHTML), "HTML", map[string]bool{"is_disabled": true}})
}

func discord(t *config.Target, n *Notice) (*http.Request, error) {
	const longest, suppressEmbeds = 2000, 1 << 2
	return post(t.URL, struct {
		Content  string              `json:"content"`
		Mentions map[string][]string `json:"allowed_mentions"` // of everyone, roles and users: none
		Flags    int                 `json:"flags"`
	}{fit(both(n), longest, discordText), map[string][]string{"parse": {}}, suppressEmbeds})
}

func slack(t *config.Target, n *Notice) (*http.Request, error) {
	const longest = 3000
	type text struct {
		Type  string `json:"type"`
		Text  string `json:"text"`
		Emoji bool   `json:"emoji"`
	}
	type block struct {
		Type string `json:"type"`
		Text text   `json:"text"`
	}
	return post(t.URL, struct {
		Text        string  `json:"text"` // where blocks are not shown
		Blocks      []block `json:"blocks"`
		UnfurlLinks bool    `json:"unfurl_links"`
		UnfurlMedia bool    `json:"unfurl_media"`
	}{Text: slackText(n.Title), Blocks: []block{{"section", text{"plain_text", fit(both(n), longest, slackText), false}}}})
}
