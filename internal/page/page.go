// Package page prints replies of a pool and of ckdb, which are JSON, for people:
// objects as tables that fit a terminal, each value as the name of its member wants
// it. What the members are called, and so how they are printed, stands here for all
// programs; who sends replies, and what they are about, does not.
package page

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/figures"
)

// member is one member of an object, in its place.
type member struct {
	key   string
	value json.RawMessage
}

// Page is what replies are printed on.
type Page struct {
	io.Writer
	Columns int // of a terminal; 0: as many as needed
}

// PrintReply prints a reply for people: objects as tables, anything else as it
// is.
func (p Page) PrintReply(reply string) error {
	members, err := ParseObject([]byte(reply))
	if err != nil {
		_, err := io.WriteString(p, strings.TrimSuffix(reply, "\n")+"\n")
		return err
	}
	t := tabwriter.NewWriter(p, 0, 0, gap, ' ', 0)
	Page{t, p.Columns}.printObject(members)
	return t.Flush()
}

// gap is between two columns.
const gap = 2

// ParseObject reads an object and keeps the order of its members.
func ParseObject(text []byte) (members []member, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, errors.New("no object")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		members = append(members, member{key.(string), v})
	}
	_, err = d.Token()
	return members, err
}

// printObject prints plain members a line each, then those that are lists or
// objects themselves: objects of a kind as rows of a table.
func (p Page) printObject(members []member) {
	var rows [][]member // of members that are objects like the first one
	var others []member // that are other objects
	for _, m := range members {
		inner, err := ParseObject(m.value)
		row := append([]member{{"", json.RawMessage(strconv.Quote(m.key))}}, inner...)
		switch {
		case m.key == secret:
		case err != nil && m.value[0] != '[', m.key == "rejects" && len(members) > 1: // of one worker
			fmt.Fprintf(p, "%s\t%s\n", label(m.key), format(m.key, m.value))
		case err != nil:
		case len(members) > 1 && (len(rows) == 0 || hasKeys(rows[0], row)):
			rows = append(rows, row)
		default:
			others = append(others, m)
		}
	}
	if len(rows) > 0 {
		p.printTable("", rows)
	}
	for _, m := range others {
		if len(members) > 1 { // else it is what was asked for
			fmt.Fprintf(p, "\n%s\n", title(m.key))
		}
		inner, _ := ParseObject(m.value)
		p.printObject(inner)
	}
	for _, m := range members {
		if m.value[0] == '[' {
			p.printList(m)
		}
	}
}

// hasKeys reports whether all keys of row are some of like.
func hasKeys(like, row []member) bool {
	return !slices.ContainsFunc(row, func(m member) bool {
		return !slices.ContainsFunc(like, func(l member) bool { return l.key == m.key })
	})
}

func (p Page) printList(m member) {
	var list []json.RawMessage
	if json.Unmarshal(m.value, &list) != nil || len(list) == 0 {
		fmt.Fprintf(p, "%s\tnone\n", m.key)
		return
	}
	var rows [][]member
	for _, v := range list {
		if inner, err := ParseObject(v); err == nil {
			rows = append(rows, inner)
		}
	}
	if len(rows) == len(list) {
		p.printTable(m.key, unfold(rows))
		return
	}
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = format(m.key, v)
	}
	fmt.Fprintf(p, "%s\t%s\n", m.key, strings.Join(words, " "))
}

// unfold turns rows that are lists of rows into these, each behind what is said of its
// list. Rows of another kind stay as they are.
func unfold(rows [][]member) [][]member {
	var all [][]member
	for _, row := range rows {
		at := slices.IndexFunc(row, func(m member) bool { return bytes.HasPrefix(m.value, []byte("[{")) || string(m.value) == "[]" })
		if at < 0 {
			return rows
		}
		var list []json.RawMessage
		if json.Unmarshal(row[at].value, &list) != nil {
			return rows
		}
		for _, v := range list {
			inner, err := ParseObject(v)
			if err != nil {
				return rows
			}
			inner = slices.DeleteFunc(inner, func(m member) bool {
				return slices.ContainsFunc(row, func(o member) bool { return o.key == m.key })
			})
			all = append(all, slices.Concat(row[:at], row[at+1:], inner))
		}
	}
	if len(all) == 0 {
		return rows
	}
	return all
}

// timeLayout is how times are printed.
const timeLayout = "2006-01-02 15:04:05"

// windows are the averages of hash rates by key.
var windows = map[string]string{
	"dsps1": "1m", "dsps5": "5m", "dsps15": "15m", "dsps60": "1h", "dsps360": "6h", "dsps1440": "1d", "dsps10080": "7d",
	"tdsps1": "1m in all", "tdsps5": "5m in all", "tdsps60": "1h in all", "tdsps1440": "1d in all",
}

// labels of members that are called otherwise on a screen.
var labels = map[string]string{"hashrate": "H/s", "hashrate1d": "H/s 1d", "workers_list": "WORKERS"}

// secret is shown to programs alone.
const secret = "pass"

// exact are numbers in text.
var exact = []string{"work", "bestdiff", "netdiff", "sent_work", "accepted_above_work", "refused_above_work", "unanswered_work"}

// label names a plain member.
func label(key string) string {
	if window, ok := windows[key]; ok {
		return "H/s " + window
	}
	if name, ok := labels[key]; ok {
		return name
	}
	return key
}

// title heads a column.
func title(key string) string {
	if name := label(key); name != key {
		return name
	}
	return strings.ToUpper(key)
}

// format prints a value as its key wants it.
func format(key string, v json.RawMessage) string {
	var text string
	if json.Unmarshal(v, &text) == nil {
		if amount, err := strconv.ParseFloat(text, 64); err == nil && slices.Contains(exact, key) {
			return figures.Number(amount)
		}
		return OneLine(text)
	}
	if counts, err := ParseObject(v); err == nil {
		words := make([]string, len(counts))
		for i, c := range counts {
			words[i] = string(c.value) + " " + OneLine(c.key)
		}
		return strings.Join(words, ", ")
	}
	number, err := strconv.ParseFloat(string(v), 64)
	if err != nil {
		return string(v) // true, false, null
	}
	switch key {
	case "lastshare", "lastrejected", "start", "started", "starttime", "update", "time", "worktime", "ended", "seen", "created", "expires", "revoked", "until", "changed", "again":
		switch {
		case number != 0:
		case key == "started":
			return "not connected"
		case key == "ended":
			return "open"
		case key == "again":
			return "-"
		default:
			return "never"
		}
		return time.Unix(int64(number), 0).Format(timeLayout)
	case "height":
		if number < 0 {
			return "unknown"
		}
	case "uptime":
		return figures.Duration(time.Duration(number) * time.Second)
	case "reward", "value", "fee", "credited", "amount", "debit", "balance", "immature", "network_fee":
		return figures.Bitcoins(int64(number))
	}
	if _, ok := windows[key]; ok {
		return difficulty.FormatSI(number * difficulty.HashesPerDifficulty)
	}
	if key == "hashrate" || key == "hashrate1d" {
		return difficulty.FormatSI(number)
	}
	if !bytes.ContainsAny(v, ".e") {
		return string(v)
	}
	return figures.Number(number)
}

// OneLine keeps programs that read the output line by line in step, and terminals from being
// steered by strangers' names: of control characters, those of C1 too, and of what turns the
// direction of text or is nowhere to be seen there are blanks.
func OneLine(reply string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return ' '
		}
		return r
	}, strings.TrimRight(reply, "\r\n"))
}
