package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/ckpool/ckpool/internal/config"
)

// program is a service that is a command to run.
type program struct{ target *config.Target }

// searchPath is where a command finds others; of this process's environment it has nothing.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// drainTime is how long output may be kept open by what a command has left running.
const drainTime = 2 * time.Second

func (p *program) send(ctx context.Context, n *Notice) error {
	out := n.outside()
	input, err := json.Marshal(out)
	if err != nil {
		return err
	}
	var said tail
	c := exec.CommandContext(ctx, p.target.Command[0], p.target.Command[1:]...)
	c.Dir = "/"
	c.Env = []string{
		searchPath, "CKPOOL_EVENT=" + out.Event, "CKPOOL_ID=" + out.ID, "CKPOOL_SEVERITY=" + out.Severity,
		"CKPOOL_TITLE=" + out.Title, "CKPOOL_TEXT=" + out.Text,
	}
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(input), &said, &said
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) } // with what it has started
	c.WaitDelay = drainTime
	err = c.Run()
	exit := (*exec.ExitError)(nil)
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil // it ended well, whoever has its output
	case ctx.Err() != nil:
		return fmt.Errorf("killed, since it had not ended after %v", p.target.Timeout)
	case errors.As(err, &exit):
		r := &refusal{text: exit.String(), final: true}
		if text := said.line(); text != "" {
			r.text += ": " + text
		}
		return r
	}
	return err
}

// tail keeps the end of what is written. Commands write from one goroutine, since
// output and errors are the same.
type tail struct{ kept []byte }

func (t *tail) Write(b []byte) (int, error) {
	const most = 4096
	t.kept = append(t.kept, b[max(0, len(b)-most):]...)
	t.kept = t.kept[max(0, len(t.kept)-most):]
	return len(b), nil
}

// line is the last one that says something.
func (t *tail) line() string {
	text := strings.TrimSpace(string(t.kept))
	return clean(text[strings.LastIndexByte(text, '\n')+1:], 200)
}
