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
// objects themselves.
func printObject(w io.Writer, members []member) {
	var rows [][]member // of members that are objects
	var others []member // those that are not like the first
	for _, m := range members {
		if inner, err := parseObject(m.value); err == nil {
			row := append([]member{{"", json.RawMessage(strconv.Quote(m.key))}}, inner...)
			if len(rows) > 0 && !alike(rows[0], row) {
				others = append(others, m)
				continue
			}
			rows = append(rows, row)
		} else if m.value[0] != '[' {
			fmt.Fprintf(w, "%s\t%s\n", m.key, format(m.key, m.value))
		}
	}
	switch {
	case len(members) == 1 && len(rows) == 1: // such as {"drops": {…}}
		printObject(w, rows[0][1:])
	case len(rows) > 0:
		printTable(w, rows)
	}
	for _, m := range others {
		fmt.Fprintf(w, "\n%s\n", m.key)
		inner, _ := parseObject(m.value)
		printObject(w, inner)
	}
	for _, m := range members {
		if m.value[0] == '[' {
			printList(w, m)
		}
	}
}

// alike tells that two rows, whose first members are their names, have a column
// in common.
func alike(a, b []member) bool {
	return slices.ContainsFunc(a[1:], func(m member) bool {
		return slices.ContainsFunc(b[1:], func(o member) bool { return o.key == m.key })
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

// printTable prints a row for each object; the first one's keys are the heads.
func printTable(w io.Writer, rows [][]member) {
	var keys []string
	for _, m := range rows[0] {
		if !slices.Contains(unseen, m.key) {
			keys = append(keys, m.key)
		}
	}
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

func title(key string) string {
	if window, ok := windows[key]; ok {
		return "H/s " + window
	}
	return strings.ToUpper(key)
}

// format prints a value as its key wants it.
func format(key string, v json.RawMessage) string {
	var text string
	if json.Unmarshal(v, &text) == nil {
		return oneLine(text)
	}
	number, err := strconv.ParseFloat(string(v), 64)
	if err != nil {
		return string(v) // true, false, null
	}
	switch key {
	case "lastshare", "start", "started", "starttime", "update", "time":
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
	if bytes.ContainsAny(v, ".e") {
		return strconv.FormatFloat(number, 'g', 6, 64)
	}
	return string(v)
}
