package main

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

	"ckpool/difficulty"
)

// member is one member of an object, in its place.
type member struct {
	key   string
	value json.RawMessage
}

// printReply prints a reply for people: objects as tables, anything else as it
// is.
func printReply(w io.Writer, reply string) error {
	members, err := parseObject([]byte(reply))
	if err != nil {
		_, err := io.WriteString(w, strings.TrimSuffix(reply, "\n")+"\n")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	printObject(t, members)
	return t.Flush()
}

// parseObject reads an object and keeps the order of its members.
func parseObject(text []byte) (members []member, err error) {
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
func printObject(w io.Writer, members []member) {
	var rows [][]member // of members that are objects like the first one
	var others []member // that are other objects
	for _, m := range members {
		inner, err := parseObject(m.value)
		row := append([]member{{"", json.RawMessage(strconv.Quote(m.key))}}, inner...)
		switch {
		case err != nil && m.value[0] != '[', m.key == "rejects" && len(members) > 1: // of one worker
			fmt.Fprintf(w, "%s\t%s\n", label(m.key), format(m.key, m.value))
		case err != nil:
		case len(members) > 1 && (len(rows) == 0 || hasKeys(rows[0], row)):
			rows = append(rows, row)
		default:
			others = append(others, m)
		}
	}
	if len(rows) > 0 {
		printTable(w, rows)
	}
	for _, m := range others {
		if len(members) > 1 { // else it is what was asked for
			fmt.Fprintf(w, "\n%s\n", title(m.key))
		}
		inner, _ := parseObject(m.value)
		printObject(w, inner)
	}
	for _, m := range members {
		if m.value[0] == '[' {
			printList(w, m)
		}
	}
}

// hasKeys reports whether all keys of row are some of like.
func hasKeys(like, row []member) bool {
	return !slices.ContainsFunc(row, func(m member) bool {
		return !slices.ContainsFunc(like, func(l member) bool { return l.key == m.key })
	})
}

func printList(w io.Writer, m member) {
	var list []json.RawMessage
	if json.Unmarshal(m.value, &list) != nil || len(list) == 0 {
		fmt.Fprintf(w, "%s\tnone\n", m.key)
		return
	}
	var rows [][]member
	for _, v := range list {
		if inner, err := parseObject(v); err == nil {
			rows = append(rows, inner)
		}
	}
	if len(rows) == len(list) {
		printTable(w, rows)
		return
	}
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = format(m.key, v)
	}
	fmt.Fprintf(w, "%s\t%s\n", m.key, strings.Join(words, " "))
}

// unseen are members that repeat others or serve programs.
var unseen = []string{"enonce1var", "enonce1_64", "proxyid", "subproxyid", "server", "subscribed", "userid"}

// printTable prints a row for each object; the first one's keys are the heads,
// but for those without a text in any row. Long texts come last.
func printTable(w io.Writer, rows [][]member) {
	var keys, last []string
	for _, m := range rows[0] {
		empty := !slices.ContainsFunc(rows, func(row []member) bool {
			return slices.ContainsFunc(row, func(c member) bool { return c.key == m.key && string(c.value) != `""` })
		})
		switch {
		case slices.Contains(unseen, m.key), empty:
		case m.key == "reason":
			last = append(last, m.key)
		default:
			keys = append(keys, m.key)
		}
	}
	keys = append(keys, last...)
	head := make([]string, len(keys))
	for i, k := range keys {
		head[i] = title(k)
	}
	fmt.Fprintln(w, strings.Join(head, "\t"))
	for _, row := range rows {
		cells := make([]string, len(keys))
		for i, k := range keys {
			if at := slices.IndexFunc(row, func(m member) bool { return m.key == k }); at >= 0 {
				cells[i] = format(k, row[at].value)
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
}

// windows are the averages of hash rates by key.
var windows = map[string]string{
	"dsps1": "1m", "dsps5": "5m", "dsps15": "15m", "dsps60": "1h", "dsps360": "6h", "dsps1440": "1d", "dsps10080": "7d",
}

// label names a plain member.
func label(key string) string {
	if window, ok := windows[key]; ok {
		return "H/s " + window
	}
	return key
}

// title heads a column.
func title(key string) string {
	if _, ok := windows[key]; ok {
		return label(key)
	}
	return strings.ToUpper(key)
}

// format prints a value as its key wants it.
func format(key string, v json.RawMessage) string {
	var text string
	if json.Unmarshal(v, &text) == nil {
		return oneLine(text)
	}
	if counts, err := parseObject(v); err == nil {
		words := make([]string, len(counts))
		for i, c := range counts {
			words[i] = string(c.value) + " " + oneLine(c.key)
		}
		return strings.Join(words, ", ")
	}
	number, err := strconv.ParseFloat(string(v), 64)
	if err != nil {
		return string(v) // true, false, null
	}
	switch key {
	case "lastshare", "lastrejected", "start", "started", "starttime", "update", "time":
		if number == 0 {
			return "never"
		}
		return time.Unix(int64(number), 0).Format("2006-01-02 15:04:05")
	case "uptime":
		return (time.Duration(number) * time.Second).String()
	case "reward":
		return strconv.FormatFloat(number/1e8, 'f', 8, 64) + " BTC"
	}
	if _, ok := windows[key]; ok {
		return difficulty.FormatSI(number * difficulty.HashesPerDifficulty)
	}
	const manyDigits = 1000
	switch {
	case !bytes.ContainsAny(v, ".e"):
		return string(v)
	case number >= manyDigits:
		return difficulty.FormatSI(number)
	}
	return strconv.FormatFloat(number, 'g', 6, 64)
}
