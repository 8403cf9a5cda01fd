package bare

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ckpool/ckpool/stratum"
)

// Answers are what the server writes.
type Answers struct {
	Subscribe, Authorize, Submit Answer
	Notify                       []byte // the broadcast, clean
}

// Answer is the bytes before and behind the id of the request.
type Answer struct{ Head, Tail []byte }

func (a *Answer) append(b, id []byte) []byte {
	return append(append(append(b, a.Head...), id...), a.Tail...)
}

const (
	// sampleID has the length of the ids of a long measurement.
	sampleID = "1234567"
	// silence ends what belongs to a reply.
	silence = 300 * time.Millisecond
	// patience is for the reply.
	patience = 10 * time.Second
)

// Sample asks a pool once and keeps what it said.
func Sample(ctx context.Context, address, user, password string) (*Answers, error) {
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("pool %s: %w", address, err)
	}
	defer conn.Close()
	s := sampler{conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}
	a := &Answers{Submit: s.cut(stratum.AppendTrue(nil, []byte(sampleID)))}
	a.Subscribe = s.ask(stratum.AppendSubscribe(nil, []byte(sampleID), "ckbench", ""))
	a.Authorize = s.ask(stratum.AppendAuthorize(nil, []byte(sampleID), user, password))
	if s.err == nil && s.notify == nil {
		s.err = errors.New("it sent no work")
	}
	if s.err != nil {
		return nil, fmt.Errorf("pool %s: %w", address, s.err)
	}
	a.Notify = bytes.Replace(s.notify, []byte(",false]"), []byte(",true]"), 1)
	return a, nil
}

type sampler struct {
	conn   net.Conn
	in     *bufio.Reader
	notify []byte // the last one
	err    error
}

// ask sends a request and takes all lines until there are no more.
func (s *sampler) ask(request []byte) Answer {
	if s.err != nil {
		return Answer{}
	}
	if _, s.err = s.conn.Write(request); s.err != nil {
		return Answer{}
	}
	var all []byte
	wait := patience
	for {
		if s.err = s.conn.SetReadDeadline(time.Now().Add(wait)); s.err != nil {
			return Answer{}
		}
		line, err := s.in.ReadBytes('\n')
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() && len(line) == 0 && len(all) > 0 {
			return s.cut(all)
		}
		if err != nil {
			s.err = err
			return Answer{}
		}
		all = append(all, line...)
		if bytes.Contains(line, []byte(`"mining.notify"`)) && bytes.Contains(line, []byte(`"params"`)) {
			s.notify = line
		}
		if bytes.Contains(all, []byte(sampleID)) {
			wait = silence
		}
	}
}

func (s *sampler) cut(all []byte) Answer {
	head, tail, found := bytes.Cut(all, []byte(sampleID))
	if !found && s.err == nil {
		s.err = fmt.Errorf("no reply in %q", all)
	}
	return Answer{head, tail}
}
