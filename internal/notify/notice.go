package notify

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/figures"
)

// Severities of a Notice.
const (
	info     = "info"
	warning  = "warning"
	critical = "critical"
)

// severities are all of them, what is least bad first.
var severities = []string{info, warning, critical}

// worth is how bad a notice is, and more where it is about blocks.
func (n *Notice) worth() int {
	if n.ofBlock() {
		return len(severities)
	}
	return slices.Index(severities, n.Severity)
}

// Kinds of notices that no target asks for.
const (
	eventDigest = "digest" // several that had to wait
	eventTest   = "test"
)

// Notice is what happened, as it is told to one target. In JSON it is the body of a
// webhook, the input of a command, and part of a queue's file.
type Notice struct {
	ID       string    `json:"id"` // the same however often it is sent
	Event    string    `json:"event"`
	Time     time.Time `json:"time"` // UTC
	Severity string    `json:"severity"`
	Resolved bool      `json:"resolved,omitempty"` // what was wrong no longer is
	Pool     string    `json:"pool"`
	Title    string    `json:"title"` // one line
	Text     string    `json:"text"`

	Private    bool     `json:"private,omitempty"` // about a user who is not named
	User       string   `json:"user,omitempty"`
	Worker     string   `json:"worker,omitempty"`
	Workers    []string `json:"workers,omitempty"` // the first of Count
	Count      int      `json:"count,omitempty"`
	Users      int      `json:"users,omitempty"` // of these workers
	Difficulty float64  `json:"difficulty,omitempty"`
	Block      *Block   `json:"block,omitempty"`
	Payment    *Payment `json:"payment,omitempty"`
	Subject    string   `json:"subject,omitempty"` // node, directory, file, reader
	Reason     string   `json:"reason,omitempty"`
	Items      []Item   `json:"items,omitempty"` // of a digest, the first of Count
}

// Block is a block that the pool has found.
type Block struct {
	Height        int64   `json:"height"`
	Hash          string  `json:"hash"`
	Reward        int64   `json:"reward"`               // satoshis
	Difficulty    float64 `json:"difficulty,omitempty"` // of the network
	Chain         string  `json:"chain,omitempty"`
	State         string  `json:"state"` // pending, confirmed, orphaned, rejected
	Confirmations int64   `json:"confirmations"`
}

// Item is a notice in a digest.
type Item struct {
	Event    string    `json:"event"`
	Time     time.Time `json:"time"`
	Severity string    `json:"severity"`
	Title    string    `json:"title"`
}

// ofBlock tells that a notice is about a block, or about several: it comes before others,
// and limits of others are none for it.
func (n *Notice) ofBlock() bool {
	return n.Block != nil || len(n.Items) > 0 && blockEvent(n.Items[0].Event)
}

func blockEvent(name string) bool {
	return name == config.EventBlockFound || name == config.EventBlockOrphaned || name == config.EventBlockMatured || name == config.EventRewardMatured
}

// maxNamed is how many workers, or items of a digest, a text names.
const maxNamed = 20

// compose writes title and text from the rest.
func (n *Notice) compose() {
	title, lines := n.words()
	n.Title, n.Text = whole(strings.ReplaceAll(title, "\n", " "), maxTitle), whole(strings.Join(lines, "\n"), maxText)
}

func (n *Notice) words() (title string, lines []string) {
	subject := mark(n.Subject)
	switch n.Event {
	case config.EventBlockFound, config.EventBlockOrphaned, config.EventBlockMatured:
		return n.blockWords()
	case config.EventBestShare:
		return fmt.Sprintf("Best share ever of %s: %s", n.userWords(), figures.Number(n.Difficulty)), n.foundBy()
	case config.EventWorkerDown, config.EventWorkerUp:
		return n.workersWords()
	case config.EventNodeDown:
		return "Node " + subject + " is down", []string{"It cannot be used: " + mark(n.Reason) + "."}
	case config.EventNodeUp:
		return "Node " + subject + " is up", []string{"It can be used again."}
	case config.EventWorkStale:
		if n.Resolved {
			return "There is new work again", []string{"Miners get it."}
		}
		return "Work is stale", []string{"Miners get no new work: " + mark(n.Reason) + "."}
	case config.EventDiskFull:
		if n.Resolved {
			return "There is room again in " + subject, []string{n.sentence()}
		}
		return "Disk nearly full: " + subject, []string{n.sentence()}
	case config.EventJournalLag:
		if n.Resolved {
			return "The journal is in order again", []string{"Shares are safe and read."}
		}
		return "The journal lags", []string{n.sentence()}
	case config.EventCertificate:
		if n.Resolved {
			return "Certificate " + subject + " is renewed", []string{n.sentence()}
		}
		return "Certificate " + subject + " expires", []string{n.sentence()}
	case config.EventPayoutSent, config.EventPayoutConfirmed, config.EventPayoutCancelled:
		return n.paymentWords()
	case config.EventRewardMatured:
		height := figures.Count(n.Block.Height)
		lines = []string{"It is worth " + figures.Bitcoins(n.Block.Reward) + ", which balances have now.", "Hash " + mark(n.Block.Hash)}
		if n.Block.State == toldOrphaned {
			lines[0] = "It was mature. Who was paid of it owes it to the pool."
			return "The reward of block " + height + " was taken back", lines
		}
		return "The reward of block " + height + " is mature", lines
	case config.EventBooksDiffer:
		if n.Resolved {
			return "The books agree again: " + subject, nil
		}
		return "The books do not agree: " + subject, []string{n.sentence()}
	case config.EventBehind:
		if n.Resolved {
			return "ckdb has caught up with " + subject, nil
		}
		return "ckdb is behind with " + subject, []string{n.sentence()}
	case config.EventGap:
		if n.Resolved {
			return "No shares of " + subject + " are missing any more", nil
		}
		return "Shares of " + subject + " are missing", []string{n.sentence()}
	case eventDigest:
		return n.digestWords()
	case eventTest:
		return "Test message", []string{"Notifications of this pool reach you here."}
	}
	return n.Event, nil
}

func (n *Notice) paymentWords() (title string, lines []string) {
	p := n.Payment
	title = fmt.Sprintf("Payment %d of %s is ", p.Payment, figures.Bitcoins(p.Amount))
	switch n.Event {
	case config.EventPayoutConfirmed:
		title, lines = title+"confirmed", []string{"It is in the block at height " + figures.Count(p.Height) + "."}
	case config.EventPayoutCancelled:
		title, lines = title+"cancelled", []string{"It never will be confirmed, and who was to be paid has it in his balance again."}
		if n.Reason != "" {
			lines = append(lines, n.sentence())
		}
	default:
		title, lines = title+"sent", []string{"It has " + figures.Things(int64(p.Outputs), "output") + "."}
	}
	return title, append(lines, "Transaction "+mark(p.Transaction))
}

// sentence is the reason as one.
func (n *Notice) sentence() string {
	if n.Reason == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(n.Reason)
	return string(markOpen) + clean(string(unicode.ToUpper(first))+n.Reason[size:], maxReason) + string(markClose) + "."
}

func (n *Notice) userWords() string {
	if n.Private {
		return "a private user"
	}
	return mark(n.User)
}

// foundBy is a line, or none where it is not known who found it.
func (n *Notice) foundBy() []string {
	switch {
	case n.Private:
		return []string{"Found by a private user."}
	case n.Worker != "":
		return []string{"Found by worker " + mark(n.Worker) + "."}
	}
	return nil
}

func (n *Notice) blockWords() (title string, lines []string) {
	b := n.Block
	height := figures.Count(b.Height)
	switch {
	case n.Event == config.EventBlockFound:
		title = "Block " + height + " found"
	case n.Event == config.EventBlockMatured:
		title = "Block " + height + " is mature"
		lines = append(lines, fmt.Sprintf("It has %s confirmations: its reward can be spent.", figures.Count(b.Confirmations)))
	case n.Resolved:
		title = "Block " + height + " is in the chain again"
	case b.State == "rejected":
		title = "Block " + height + " was rejected"
		lines = append(lines, "The nodes say: "+mark(n.Reason)+".")
	default:
		title = "Block " + height + " was orphaned"
		lines = append(lines, "Another block is at its height in the chain.")
	}
	lines = append(append(lines, n.foundBy()...), fmt.Sprintf("Reward %s, network difficulty %s.", figures.Bitcoins(b.Reward), figures.Number(b.Difficulty)), "Hash "+mark(b.Hash))
	return title, lines
}

func (n *Notice) workersWords() (title string, lines []string) {
	state := "down"
	if n.Event == config.EventWorkerUp {
		state = "up again"
	}
	switch {
	case n.Count == 1 && n.Private:
		return "A worker of a private user is " + state, nil
	case n.Count == 1 && len(n.Workers) == 1:
		title = "Worker " + mark(n.Workers[0]) + " is " + state
		if n.Reason != "" {
			lines = append(lines, n.Reason)
		}
		return title, lines
	case n.Users == 1 && n.User != "":
		title = fmt.Sprintf("%s of %s are %s", figures.Things(int64(n.Count), "worker"), mark(n.User), state)
	default:
		title = fmt.Sprintf("%s of %s are %s", figures.Things(int64(n.Count), "worker"), figures.Things(int64(n.Users), "user"), state)
	}
	named := n.Workers[:min(len(n.Workers), maxNamed)]
	for _, w := range named {
		lines = append(lines, mark(w))
	}
	return title, more(lines, n.Count-len(named))
}

func more(lines []string, n int) []string {
	if n > 0 {
		lines = append(lines, fmt.Sprintf("and %s more", figures.Count(int64(n))))
	}
	return lines
}

func (n *Notice) digestWords() (title string, lines []string) {
	for _, i := range n.Items[:min(len(n.Items), maxNamed)] {
		lines = append(lines, i.Time.Format("15:04")+" "+i.Title)
	}
	return fmt.Sprintf("%s, times in UTC", figures.Things(int64(n.Count), "notice")), more(lines, n.Count-len(lines))
}

// digestOf is several notices in one.
func digestOf(list []*Notice, id string) *Notice {
	d := &Notice{ID: id, Event: eventDigest, Severity: info, Pool: list[0].Pool, Time: list[len(list)-1].Time}
	for _, n := range list {
		if n.Event == eventDigest {
			d.Items, d.Count = append(d.Items, n.Items...), d.Count+n.Count
		} else {
			d.Items, d.Count = append(d.Items, Item{n.Event, n.Time, n.Severity, n.Title}), d.Count+1
		}
		if slices.Index(severities, n.Severity) > slices.Index(severities, d.Severity) {
			d.Severity = n.Severity
		}
	}
	// What is worst is named first: where there are many, the others may be strangers' doing.
	slices.SortStableFunc(d.Items, func(a, b Item) int {
		return slices.Index(severities, b.Severity) - slices.Index(severities, a.Severity)
	})
	const most = 100
	d.Items = d.Items[:min(len(d.Items), most)]
	d.compose()
	return d
}

// outside is a notice as programs get it: without marks.
func (n *Notice) outside() *Notice {
	out := *n
	out.Title, out.Text = plain(n.Title), plain(n.Text)
	out.Items = slices.Clone(n.Items)
	for i := range out.Items {
		out.Items[i].Title = plain(out.Items[i].Title)
	}
	return &out
}
