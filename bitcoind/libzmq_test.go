package bitcoind

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/event"
)

// Publishes on a free port as a node does; each line on standard input says
// what: "block N", "others", "skip N" sequence numbers, "restart".
const libzmqPublisher = `
import struct, sys, zmq
context = zmq.Context()
def bind(endpoint):
    socket = context.socket(zmq.PUB)
    socket.setsockopt(zmq.LINGER, 0)
    socket.bind(endpoint)
    return socket
socket = bind('tcp://127.0.0.1:*')
endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
print(endpoint, flush=True)
sequence = 0
for line in sys.stdin:
    command, _, number = line.strip().partition(' ')
    if command == 'block':
        socket.send_multipart([b'hashblock', bytes(31) + bytes([int(number)]), struct.pack('<I', sequence)])
        sequence += 1
    elif command == 'others':
        for topic, body in ((b'hashtx', bytes(32)), (b'rawblock', bytes(2000000)), (b'rawtx', bytes(400)), (b'sequence', bytes(33))):
            socket.send_multipart([topic, body, struct.pack('<I', 7)])
    elif command == 'skip':
        sequence += int(number)
    elif command == 'restart':
        socket.close()
        sequence = 0
        while True:
            try:
                socket = bind(endpoint)
                break
            except zmq.ZMQError:
                pass
`

// Our subscriber against the library nodes publish with: all topics on one
// endpoint, a gap, a restart.
func TestLibzmq(t *testing.T) {
	const python = "/usr/bin/python3"
	if out, err := exec.Command(python, "-c", "import zmq").CombinedOutput(); err != nil {
		message := fmt.Sprintf("%s has no zmq (apt-get install python3-zmq): %v %s", python, err, out)
		if os.Getenv("CI") != "" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, python, "-c", libzmqPublisher)
	command.Stderr = os.Stderr
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		input.Close()
		if err := command.Wait(); err != nil {
			t.Errorf("publisher: %v", err)
		}
	}()
	endpoint, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	say := func(line string) {
		if _, err := io.WriteString(input, line+"\n"); err != nil {
			t.Error(err)
		}
	}

	s, err := newSubscriber(strings.TrimSpace(endpoint))
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 1000)
	s.block = func(hash [32]byte) { told <- fmt.Sprint("block ", hash[0]) }
	s.missed = func() { told <- "missed" }
	s.events = func(e event.Event) {
		if e.Level <= event.Warning {
			told <- "warning"
		}
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		s.run(running)
		close(ended)
	}()
	defer func() {
		stop()
		<-ended
	}()
	joined := "" // what was said until the subscription worked: it may come again
	want := func(list ...string) {
		t.Helper()
		for _, w := range list {
			for got := ""; got != w; {
				select {
				case got = <-told:
					if got != w && got != joined {
						t.Fatalf("told %q, want %q", got, w)
					}
				case <-ctx.Done():
					t.Fatalf("not told %q", w)
				}
			}
		}
	}
	// The publisher knows of the subscription a moment after we sent it: what
	// it publishes before is lost, as with a node.
	join := func(number int) {
		t.Helper()
		want("missed")
		for joined = fmt.Sprint("block ", number); ; {
			say(joined)
			select {
			case got := <-told:
				if got != joined {
					t.Fatalf("told %q", got)
				}
				return
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				t.Fatal("the subscription does not work")
			}
		}
	}
	join(1)
	say("block 2")
	say("others")
	say("block 3")
	want("block 2", "block 3")
	say("skip 3")
	say("block 4")
	want("block 4", "missed")
	say("restart")
	want("missed", "warning")
	join(5)
	say("others")
	say("block 6")
	want("block 6")
}
