package operation

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ckpool/ckpool/control"
)

// replyTime is what every command keeps to, of which it takes a second where a node hangs,
// and the rest is for a busy machine.
const replyTime = 5 * time.Second

// volatile are the members of replies that are different each time.
var volatile = regexp.MustCompile(`"(id|update|start|starttime|started|lastshare|lastrejected|lastupdate|time|memory|latency_ms|uptime|` +
	`worktime|enonce1|enonce1var|enonce1_64|[ds]sps\d+|sps\d+|bestdiff|bestever|bestshare|hash|generated|since|authorised|runtime|url)": ("[^"]*"|[-0-9.e]+)`)

// ask INSTANCE FILE: sends the commands of a file, each line being "SOCKET
// COMMAND", and prints them with their replies, what is different each time
// replaced by "…". It fails when a reply takes too long. One that says so is asked for
// again, unless the node hangs.
func ask(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 2, "ask INSTANCE FILE")
	hangs := worldOf(ts).hangs
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		line = os.Expand(strings.TrimSpace(line), ts.Getenv)
		fmt.Fprintln(ts.Stdout(), strings.TrimSpace("# "+line))
		socket, command, ok := strings.Cut(line, " ")
		if !ok {
			continue
		}
		c := control.Dial(ts.Getenv("S"), args[0], socket)
		reply := ""
		for until := time.Now().Add(patience); ; {
			began := time.Now()
			var err error
			reply, err = c.Do(context.Background(), command)
			took := time.Since(began)
			if err != nil {
				ts.Fatalf("%s: %v", line, err)
			}
			if took > replyTime {
				ts.Fatalf("%s: the reply took %v", line, took)
			}
			if hangs || !strings.Contains(reply, "takes longer than") || time.Now().After(until) {
				break
			}
		}
		fmt.Fprintln(ts.Stdout(), volatile.ReplaceAllString(strings.TrimSpace(reply), `"$1": …`))
	}
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
