package operation

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"ckpool/control"
)

// replyTime is what every command keeps to.
const replyTime = time.Second

// volatile are the members of replies that are different each time.
var volatile = regexp.MustCompile(`"(id|update|start|starttime|started|lastshare|lastupdate|time|memory|latency_ms|uptime|` +
	`enonce1|enonce1var|enonce1_64|[ds]sps\d+|sps\d+|bestdiff|bestever|bestshare|hash|generated|since|authorised|runtime|url)": ("[^"]*"|[-0-9.e]+)`)

// ask INSTANCE SOCKET COMMAND: sends a command and prints the reply, what is
// different each time replaced by "…". It fails when the reply takes too long.
func ask(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 3, "ask INSTANCE SOCKET COMMAND")
	c := control.Dial(ts.Getenv("S"), args[0], args[1])
	began := time.Now()
	reply, err := c.Do(context.Background(), strings.Join(args[2:], " "))
	took := time.Since(began)
	ts.Check(err)
	if took > replyTime {
		ts.Fatalf("the reply took %v", took)
	}
	fmt.Fprintln(ts.Stdout(), volatile.ReplaceAllString(reply, `"$1": …`))
}

// stall INSTANCE: on each socket clients that send nothing, a part of a length,
// and a length without its text stay connected until the end.
func stall(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 1, "stall INSTANCE")
	w := worldOf(ts)
	for _, socket := range []string{"listener", "stratifier", "generator", "connector"} {
		for _, begin := range [][]byte{nil, {1}, binary.LittleEndian.AppendUint32(nil, 1<<20), append(binary.LittleEndian.AppendUint32(nil, 8), "ping"...)} {
			c, err := net.Dial("unix", filepath.Join(ts.Getenv("S"), args[0], socket))
			ts.Check(err)
			w.held = append(w.held, c)
			_, err = c.Write(begin)
			ts.Check(err)
		}
	}
}
