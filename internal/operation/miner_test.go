package operation

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ckpool/ckpool/stratum/client"
)

// scriptMiner is a connected miner that submits what the script says.
type scriptMiner struct {
	client *client.Client
	read   sync.WaitGroup
	nonce  uint32 // owned by the script

	mu sync.Mutex
	// guarded by mu
	job        *client.Notify
	extranonce client.Extranonce
	heard      []string
}

func (m *scriptMiner) close() {
	m.client.Close()
	m.read.Wait()
}

func dial(url, user, session string) (*scriptMiner, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := client.Dial(ctx, client.Endpoint{URL: url, User: user, Password: "x"},
		client.Options{UserAgent: "cgminer/4.12.1", SessionID: session})
	if err != nil {
		return nil, err
	}
	m := &scriptMiner{client: c}
	m.read.Go(func() {
		for e := range c.Events() {
			m.take(e)
		}
	})
	return m, await(func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.job == nil {
			return fmt.Errorf("%s got no work", user)
		}
		return nil
	})
}

func (m *scriptMiner) take(e client.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch e := e.(type) {
	case client.Notify:
		m.job = &e
	case client.Extranonce:
		m.extranonce = e
	case client.Message:
		m.heard = append(m.heard, "message "+string(e))
	case client.Reconnect:
		m.heard = append(m.heard, fmt.Sprintf("reconnect %q %v", e.Host, e.Port))
	case client.Difficulty:
		m.heard = append(m.heard, fmt.Sprintf("difficulty %g", float64(e)))
	case client.Closed:
		m.heard = append(m.heard, "closed")
	}
}

// submit sends one share and returns the text of its rejection.
func (m *scriptMiner) submit(job string) (string, error) { return m.submitLong(job, 0) }

// submitLong does so with an extranonce2 that has some bytes more than it should.
func (m *scriptMiner) submitLong(job string, tooLong int) (string, error) {
	m.mu.Lock()
	now, length := *m.job, m.extranonce.Extranonce2Len+tooLong
	m.mu.Unlock()
	m.nonce++
	s := client.Share{Extranonce2: make([]byte, length), NTime: now.NTime, Nonce: m.nonce}
	if job == "" {
		job = now.JobID
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	reject, err := m.client.Submit(ctx, job, s)
	if reject != nil {
		return reject.Text, err
	}
	return "", err
}

// mine connect|joins|refused|share|bad|malformed|repeat|hears|session|close MINER …: a miner of the script.
func mine(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, false, args, 2, "mine VERB MINER ...")
	w, verb, name := worldOf(ts), args[0], args[1]
	args = args[2:]
	if verb == "connect" { // USER [PORT [SESSION]]
		want(ts, false, args, 1, "mine connect MINER USER [PORT [SESSION]]")
		port, session := ts.Getenv("PORT"), ""
		if len(args) > 1 {
			port = args[1]
		}
		if len(args) > 2 {
			session = args[2]
		}
		m, err := dial("127.0.0.1:"+port, args[0], session)
		if neg && err != nil {
			return
		}
		ts.Check(err)
		if neg {
			ts.Fatalf("%s is let in", args[0])
		}
		w.miners[name] = m
		return
	}
	if verb == "joins" { // USER: it is let in in the end
		ts.Check(await(func() error {
			m, err := dial("127.0.0.1:"+ts.Getenv("PORT"), args[0], "")
			if err != nil {
				<-time.After(time.Second) // who tries again at once is kept waiting for longer
				return err
			}
			w.miners[name] = m
			return nil
		}))
		return
	}
	if verb == "refused" { // USER FILE REGEXP: it is never let in, in the end for a reason that is in the file
		want(ts, false, args, 3, "mine refused MINER USER FILE REGEXP")
		re := regexp.MustCompile(args[2])
		ts.Check(await(func() error {
			if m, err := dial("127.0.0.1:"+ts.Getenv("PORT"), args[0], ""); err == nil {
				m.close()
				ts.Fatalf("%s is let in", args[0])
			}
			<-time.After(time.Second) // as above; meanwhile the reason is written
			text, err := os.ReadFile(ts.MkAbs(args[1]))
			if err == nil && !re.Match(text) {
				err = fmt.Errorf("%s has no match of %s:\n%s", args[1], args[2], text)
			}
			return err
		}))
		return
	}
	m := w.miners[name]
	if m == nil {
		ts.Fatalf("no miner %s", name)
	}
	switch verb {
	case "share": // COUNT
		n, err := strconv.Atoi(args[0])
		ts.Check(err)
		for range n {
			reject, err := m.submit("")
			ts.Check(err)
			if reject != "" {
				ts.Fatalf("share rejected: %s", reject)
			}
		}
	case "bad": // JOB TEXT
		reject, err := m.submit(args[0])
		ts.Check(err)
		if reject != args[1] {
			ts.Fatalf("share of job %s: %q", args[0], reject)
		}
	case "malformed": // TEXT
		reject, err := m.submitLong("", 1)
		ts.Check(err)
		if reject != args[0] {
			ts.Fatalf("malformed share: %q", reject)
		}
	case "repeat": // TEXT
		m.nonce--
		reject, err := m.submit("")
		ts.Check(err)
		if reject != args[0] {
			ts.Fatalf("repeated share: %q", reject)
		}
	case "hears": // REGEXP
		ts.Check(m.await(regexp.MustCompile("^" + args[0] + "$")))
	case "session": // VARIABLE: the session, VARIABLE_E1: its extranonce1
		m.mu.Lock()
		defer m.mu.Unlock()
		ts.Setenv(args[0], m.extranonce.SessionID)
		ts.Setenv(args[0]+"_E1", fmt.Sprintf("%x", m.extranonce.Extranonce1))
	case "close":
		m.close()
	default:
		ts.Fatalf("miners cannot %s", verb)
	}
}

// await waits for something the miner hears, and forgets what came before.
func (m *scriptMiner) await(re *regexp.Regexp) error {
	return await(func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		for i, text := range m.heard {
			if re.MatchString(text) {
				m.heard = m.heard[i+1:]
				return nil
			}
		}
		return fmt.Errorf("%v not heard, but %q", re, m.heard)
	})
}
