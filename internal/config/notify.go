package config

import (
	"encoding/base64"
	"fmt"
	"math"
	"net/mail"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ckpool/ckpool/address"
	"github.com/ckpool/ckpool/internal/nearest"
)

// Events that notifications are of.
const (
	EventBlockFound    = "block_found"
	EventBlockOrphaned = "block_orphaned"
	EventBlockMatured  = "block_matured"
	EventBestShare     = "best_share"
	EventWorkerDown    = "worker_down"
	EventWorkerUp      = "worker_up"
	EventNodeDown      = "node_down"
	EventNodeUp        = "node_up"
	EventWorkStale     = "work_stale"
	EventDiskFull      = "disk_full"
	EventJournalLag    = "journal_lag"
	EventCertificate   = "certificate"

	// What ckdb tells.
	EventPayoutSent      = "payout_sent"
	EventPayoutConfirmed = "payout_confirmed"
	EventPayoutCancelled = "payout_cancelled"
	EventRewardMatured   = "reward_matured"
	EventBooksDiffer     = "books_differ"
	EventBehind          = "ckdb_behind"
	EventGap             = "ckdb_gap"
)

// NotifyEvent is a kind of event.
type NotifyEvent struct {
	Name   string
	OfUser bool // it is about one user, whose target may ask for it
	Asked  bool // told only where "events" names it, or to the user whom it is about
}

// NotifyEvents are all kinds.
var NotifyEvents = []NotifyEvent{
	{EventBlockFound, true, false}, {EventBlockOrphaned, true, false}, {EventBlockMatured, true, false},
	{EventBestShare, true, true}, {EventWorkerDown, true, true}, {EventWorkerUp, true, true},
	{EventNodeDown, false, false}, {EventNodeUp, false, false}, {EventWorkStale, false, false},
	{EventDiskFull, false, false}, {EventJournalLag, false, false}, {EventCertificate, false, false},
	{EventPayoutSent, false, false}, {EventPayoutConfirmed, false, false}, {EventPayoutCancelled, false, false}, {EventRewardMatured, false, false},
	{EventBooksDiffer, false, false}, {EventBehind, false, false}, {EventGap, false, false},
}

// Services that notifications go to: Target.Service.
const (
	ServiceWebhook  = "webhook"
	ServiceEmail    = "email"
	ServiceNtfy     = "ntfy"
	ServiceTelegram = "telegram"
	ServiceDiscord  = "discord"
	ServiceSlack    = "slack"
	ServiceCommand  = "command"
)

// Target is one entry of "notify": who hears of what. Secrets are URL, Token, Secret and
// Pass.
type Target struct {
	Key      string // where it stands in the file, such as "notify[0]"
	Name     string // no other has it; a file may be called like it
	Service  string
	User     string   // only what is about this user is told; "" what is about the pool
	Events   []string // names
	Template string   // of the text; "" the event's own
	PerHour  int      // messages, those about blocks apart; 0: no limit

	URL        string   // of webhook, ntfy, discord and slack; of telegram where its API is
	Secret     string   // of webhook, that signs; "" none
	Token      string   // of telegram and ntfy; "" none
	Chat       string   // of telegram
	Server     string   // of email: smtp://host:port or smtps://host:port
	Auth, Pass string   // of email and ntfy; "" none
	From       string   // of email
	To         []string // of email
	Command    []string // program and arguments
	Timeout    time.Duration
}

// Bounds of what "notify" may hold.
const (
	maxTargets     = 200
	maxTemplate    = 4096 // bytes
	maxRecipients  = 20
	defaultPerHour = 20
	commandTime    = 30 * time.Second
)

// serviceKeys are the keys of a target of each service beside the common ones: those that
// it needs, those that it may have.
var serviceKeys = map[string][2][]string{
	ServiceWebhook:  {{"url"}, {"secret"}},
	ServiceEmail:    {{"server", "from", "to"}, {"auth", "pass"}},
	ServiceNtfy:     {{"url"}, {"token", "auth", "pass"}},
	ServiceTelegram: {{"token", "chat"}, {"url"}},
	ServiceDiscord:  {{"url"}, nil},
	ServiceSlack:    {{"url"}, nil},
	ServiceCommand:  {{"command"}, {"timeout"}},
}

const servicesText = `"webhook", "email", "ntfy", "telegram", "discord", "slack" or "command"`

func (r *reader) readNotify(v value) error {
	list, err := v.elements(`an array of targets [{"type", …}]`)
	if err != nil {
		return err
	}
	for _, e := range list {
		if len(r.Notify) == maxTargets {
			v.file.note(e.wants(fmt.Sprintf("at most %d targets", maxTargets)))
			break
		}
		t, err := e.target()
		if err != nil {
			v.file.note(err)
			continue
		}
		if t.Service == "" { // said already
			continue
		}
		if slices.ContainsFunc(r.Notify, func(other Target) bool { return other.Name == t.Name }) {
			v.file.note(e.file.at(e.StartOffset, &Error{Key: e.member("name"), Want: "a name that no other target has, which without the key is its type", Got: fmt.Sprintf("%q", cut(t.Name, 60))}))
			continue
		}
		r.Notify = append(r.Notify, t)
	}
	return nil
}

// target reads one entry of "notify".
func (v value) target() (Target, error) {
	t := Target{Key: v.path, PerHour: defaultPerHour, Timeout: commandTime}
	var events value
	err := v.members(map[string]setter{
		"type":     service(&t.Service),
		"name":     targetName(&t.Name),
		"user":     userName(&t.User),
		"events":   noted(eventNames(&t.Events), &events),
		"template": template(&t.Template),
		"per_hour": count(&t.PerHour, "0 for no limit"),
		"url":      secret(webURL(&t.URL)),
		"secret":   secret(webhookSecret(&t.Secret)),
		"token":    secret(header(&t.Token)),
		"chat":     chat(&t.Chat),
		"server":   mailServer(&t.Server),
		"auth":     header(&t.Auth),
		"pass":     secret(header(&t.Pass)),
		"from":     mailAddress(&t.From),
		"to":       mailAddresses(&t.To),
		"command":  command(&t.Command),
		"timeout":  commandTimeout(&t.Timeout),
	})
	if err != nil {
		return t, err
	}
	if v.require("type"); t.Service == "" {
		return t, nil
	}
	if t.Name == "" {
		t.Name = t.Service
	}
	keys := serviceKeys[t.Service]
	v.require(keys[0]...)
	for service, others := range serviceKeys {
		for _, key := range slices.Concat(others[0], others[1]) {
			if service != t.Service && v.has(key) && !slices.Contains(slices.Concat(keys[0], keys[1]), key) {
				v.file.note(v.file.at(v.file.offsets[v.member(key)], &Error{
					Key: v.member(key), Want: "a key of the type " + t.Service + ", which are " + strings.Join(slices.Concat(keys[0], keys[1]), ", "), Got: "one of " + service,
				}))
			}
		}
	}
	if v.has("auth") != v.has("pass") {
		v.require("auth", "pass")
	}
	if t.Service == ServiceTelegram && t.URL == "" {
		t.URL = "https://api.telegram.org"
	}
	if u, err := url.Parse(t.URL); t.Service == ServiceNtfy && t.URL != "" && (err != nil || strings.HasSuffix(u.Path, "/") || u.Path == "") {
		return t, v.file.at(v.file.offsets[v.member("url")], &Error{Key: v.member("url"), Want: "the topic at the end of it, as in https://ntfy.sh/topic", Got: "none"})
	}
	t.defaultEvents()
	if t.User != "" && v.has("events") {
		for _, name := range t.Events {
			if !eventOf(name).OfUser {
				return t, events.wants("events about a user, beside \"user\": " + eventList(true))
			}
		}
	}
	return t, nil
}

// defaultEvents are those of a target that names none.
func (t *Target) defaultEvents() {
	if t.Events != nil {
		return
	}
	for _, e := range NotifyEvents {
		if t.User != "" && e.OfUser || t.User == "" && !e.Asked {
			t.Events = append(t.Events, e.Name)
		}
	}
}

func eventOf(name string) NotifyEvent {
	for _, e := range NotifyEvents {
		if e.Name == name {
			return e
		}
	}
	return NotifyEvent{}
}

// eventList is the names of all events, or of those about users.
func eventList(ofUser bool) string {
	var names []string
	for _, e := range NotifyEvents {
		if e.OfUser || !ofUser {
			names = append(names, e.Name)
		}
	}
	return strings.Join(names, ", ")
}

func service(to *string) setter {
	return func(v value) error {
		s, err := v.text()
		if _, known := serviceKeys[s]; err != nil || !known {
			return v.wants(servicesText)
		}
		*to = s
		return nil
	}
}

// targetName takes what a directory may be called.
func targetName(to *string) setter {
	return func(v value) error {
		s, err := v.text()
		odd := func(c rune) bool {
			return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_')
		}
		if err != nil || s == "" || len(s) > 40 || strings.ContainsFunc(s, odd) {
			return v.wants("a name of 1 to 40 letters, digits, - and _")
		}
		*to = s
		return nil
	}
}

// userName takes a user's name in the form that the pool has it in.
func userName(to *string) setter {
	return func(v value) error {
		s, err := v.text()
		if err != nil || s == "" || strings.ContainsAny(s, "._") {
			return v.wants("the name of a user, which is that of a worker up to its first . or _")
		}
		*to = canonicalUser(s)
		return nil
	}
}

// canonicalUser is an address as addresses are written, any other name as it is.
func canonicalUser(name string) string {
	if a, err := address.Parse(name); err == nil {
		return a.String()
	}
	return name
}

// userNames takes users, in the form that the pool has their names in.
func userNames(to *[]string) setter {
	return func(v value) error {
		err := texts(to)(v)
		for i := range *to {
			(*to)[i] = canonicalUser((*to)[i])
		}
		return err
	}
}

// Private tells that a user is named to nobody but himself, however his name is written.
func (c *Config) Private(user string) bool {
	if len(c.PrivateUsers) == 0 {
		return false
	}
	return slices.Contains(c.PrivateUsers, "*") || slices.Contains(c.PrivateUsers, canonicalUser(user))
}

func eventNames(to *[]string) setter {
	return func(v value) error {
		list := []string{}
		for _, e := range v.oneOrMore() {
			name, err := e.text()
			if err != nil || eventOf(name).Name == "" {
				want := "an event: " + eventList(false)
				if meant := nearestEvent(name); meant != "" {
					want = fmt.Sprintf("%q, or another event", meant)
				}
				return e.wants(want)
			}
			if !slices.Contains(list, name) {
				list = append(list, name)
			}
		}
		*to = list
		return nil
	}
}

func nearestEvent(name string) string {
	var names []string
	for _, e := range NotifyEvents {
		names = append(names, e.Name)
	}
	return nearest.Word(name, names)
}

// template takes a text of bounded length; what it means is for who fills it in.
func template(to *string) setter {
	return func(v value) error {
		s, err := v.text()
		if err != nil || len(s) > maxTemplate {
			return v.wants(fmt.Sprintf("a template of at most %d bytes", maxTemplate))
		}
		*to = s
		return nil
	}
}

// header takes a text that may stand in a line of a protocol.
func header(to *string) setter {
	return func(v value) error {
		s, err := v.text()
		if err != nil || s == "" || len(s) > 1024 || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return v.wants("a text of one line")
		}
		*to = s
		return nil
	}
}

// webURL takes a URL of HTTP. It is a secret where it has one in its path.
func webURL(to *string) setter {
	return func(v value) error {
		s, err := v.text()
		u, urlErr := url.Parse(s)
		if err != nil || urlErr != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
			return v.wants("a URL like https://host/path")
		}
		if u.Scheme == "http" && !nearby(u.Hostname()) {
			v.warnf("%q is http, where everybody on the way reads the messages: https is better", v.path)
		}
		*to = s
		return nil
	}
}

// nearby tells that a host is this machine or in a private network, as far as its name
// says it.
func nearby(host string) bool {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return !strings.Contains(host, ".")
	}
	return slices.ContainsFunc(localNetworks(), func(p netip.Prefix) bool { return p.Contains(ip.Unmap()) })
}

// webhookPrefix is before a secret in base64.
const webhookPrefix = "whsec_"

// webhookSecret takes the secret that signs webhooks.
func webhookSecret(to *string) setter {
	return func(v value) error {
		s, err := v.text()
		coded, isCoded := strings.CutPrefix(s, webhookPrefix)
		key := []byte(s)
		var codeErr error
		if isCoded {
			key, codeErr = base64.StdEncoding.DecodeString(coded)
		}
		const least, most = 16, 256
		if err != nil || codeErr != nil || len(key) < least || len(key) > most {
			return v.wants(fmt.Sprintf("%s and %d bytes or more in base64, or any text of %d bytes or more", webhookPrefix, least, least))
		}
		*to = s
		return nil
	}
}

// WebhookKey is the key that the secret of a webhook stands for.
func (t *Target) WebhookKey() []byte {
	if coded, ok := strings.CutPrefix(t.Secret, webhookPrefix); ok {
		key, _ := base64.StdEncoding.DecodeString(coded) // was read by webhookSecret
		return key
	}
	return []byte(t.Secret)
}

// chat takes the number of a chat, which may be written as one, or @name.
func chat(to *string) setter {
	return func(v value) error {
		if v.kind() == '0' {
			n, err := v.integer("the number of a chat", math.MinInt, math.MaxInt)
			*to = fmt.Sprint(n)
			return err
		}
		return header(to)(v)
	}
}

// mailServer takes the server that e-mail is sent by.
func mailServer(to *string) setter {
	return func(v value) error {
		s, err := v.text()
		scheme, address, _ := strings.Cut(s, "://")
		host, _, urlErr := splitURL(address)
		if err != nil || urlErr != nil || host == "" || scheme != "smtp" && scheme != "smtps" || strings.Contains(address, "/") {
			return v.wants("smtp://host:port, which uses STARTTLS, or smtps://host:port")
		}
		*to = s
		return nil
	}
}

func mailAddress(to *string) setter {
	return func(v value) error {
		s, err := v.text()
		a, mailErr := mail.ParseAddress(s)
		if err != nil || mailErr != nil || strings.ContainsAny(s, "\r\n") || len(s) > 320 {
			return v.wants(`an address like "Pool <pool@example.org>"`)
		}
		*to = a.String()
		return nil
	}
}

func mailAddresses(to *[]string) setter {
	return func(v value) error {
		list := []string{}
		for _, e := range v.oneOrMore() {
			var a string
			if err := mailAddress(&a)(e); err != nil {
				return err
			}
			list = append(list, a)
		}
		if len(list) == 0 || len(list) > maxRecipients {
			return v.wants(fmt.Sprintf("1 to %d addresses", maxRecipients))
		}
		*to = list
		return nil
	}
}

// command takes a program, by its whole path, and its arguments: no shell reads them.
func command(to *[]string) setter {
	return func(v value) error {
		var list []string
		if err := texts(&list)(v); err != nil {
			return err
		}
		if len(list) == 0 || strings.ContainsRune(strings.Join(list, ""), 0) {
			return v.wants("a program and its arguments in an array")
		}
		program, err := list[0], error(nil)
		if program != "" {
			program, err = expandHome(program)
		}
		if err != nil || !filepath.IsAbs(program) {
			return v.wants("the path of a program from / on, and its arguments, in an array; no shell reads them")
		}
		list[0] = program
		*to = list
		return nil
	}
}

func commandTimeout(to *time.Duration) setter {
	return func(v value) error {
		n, err := v.integer("a whole number of seconds from 1 to 600", 1, 600)
		*to = time.Duration(n) * time.Second
		return err
	}
}
