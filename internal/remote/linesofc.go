package remote

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/ckpool/ckpool/difficulty"
	"github.com/ckpool/ckpool/internal/recent"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/internal/users"
	"github.com/ckpool/ckpool/poolproto"
)

// A trusted remote that is ckpool in C has no journal, and nothing is acknowledged: its
// shares are counted as they come, as shares of this pool that nobody can compute again.
// One that it says again after it has linked anew is known by its hash.

const (
	// hashesMost is how many hashes of such a remote are known.
	hashesMost = 200_000
	// loginsMost is how many logins of one link wait for an answer.
	loginsMost = 1024
)

// hashes are those of the shares that remotes in C have reported last.
type hashes = recent.Map[[32]byte, struct{}]

// lineOfC handles a line of ckpool in C.
func (k *conversation) lineOfC(line []byte) {
	method, err := poolproto.RemoteMethod(line)
	if err != nil {
		k.complain(err)
		return
	}
	switch method {
	case poolproto.RemotePing:
		k.link.Send(poolproto.AppendRemotePong(nil))
	case poolproto.RemoteAuth:
		err = k.loginOfC(line)
	case poolproto.RemoteShare:
		err = k.shareOfC(line)
	case poolproto.RemoteWorkers:
		var user string
		var n int
		if user, n, err = poolproto.ParseRemoteWorkers(line); err == nil && users.Nameable(user) {
			k.collector.options.Users.SetRemoteWorkers(k.link.String(), user, n)
		}
	case poolproto.RemoteError, poolproto.RemoteStats: // for a database of its own
	case poolproto.TagWorkInfo:
		k.collector.options.Works.From(k, poolproto.Work, line)
	case poolproto.TagTransactions:
		k.collector.options.Works.From(k, poolproto.Transactions, line)
	case poolproto.TagBlock:
		err = k.blockOfC(line)
	case poolproto.TagRequest:
		k.link.Request(line)
	default:
		err = fmt.Errorf("method %q is not known", method)
	}
	if err != nil {
		k.complain(err)
	}
}

// blockOfC has a block put together and submitted. When the remote's node has taken it, it
// says so without what it is made of.
func (k *conversation) blockOfC(line []byte) error {
	var b poolproto.Block
	if err := b.Parse(line); err != nil {
		return err
	}
	if b.Coinbase != nil {
		k.collector.options.Works.From(k, poolproto.Solved, line)
	}
	return nil
}

// String implements nodework.Pool.
func (k *conversation) String() string { return k.link.String() }

// Asks implements nodework.Pool.
func (k *conversation) Asks() bool { return true }

// Ask implements nodework.Pool.
func (k *conversation) Ask(txids [][32]byte) {
	if len(txids) > 0 {
		k.link.Send(poolproto.AppendRemoteLine(nil, poolproto.AppendRequest(nil, txids), poolproto.TagRequest))
	}
}

// loginOfC asks whether a miner of the remote may mine, and answers.
func (k *conversation) loginOfC(line []byte) error {
	var l poolproto.RemoteLogin
	if err := l.Parse(line); err != nil {
		return err
	}
	if k.logins.Add(1) > loginsMost {
		k.logins.Add(-1)
		return fmt.Errorf("auth: more than %d logins wait for an answer", loginsMost)
	}
	k.collector.options.Users.MayMine(&session.Login{
		Worker: l.Worker, Password: l.Password, UserAgent: l.Agent, Remote: netip.AddrPortFrom(l.Address, 0), Time: time.Now(),
	}, func(refused string) {
		k.logins.Add(-1)
		k.link.Send(l.AppendResult(nil, refused))
	})
	return nil
}

// shareOfC counts a share.
func (k *conversation) shareOfC(line []byte) error {
	var s poolproto.RemoteShareLine
	if err := s.Parse(line); err != nil {
		return err
	}
	if !users.Nameable(s.Worker) {
		return fmt.Errorf("share: unusable workername %.80q", s.Worker)
	}
	if s.Difficulty > mostDifficulty {
		return fmt.Errorf("share: a difficulty of %g", s.Difficulty)
	}
	sh := &session.Share{
		Time: time.Now(), Remote: netip.AddrPortFrom(s.Address, 0), UserAgent: s.Agent,
		Extranonce1: session.MakeExtranonce(s.Extranonce1), Extranonce2: session.MakeExtranonce(s.Extranonce2),
		NTime: s.NTime, Nonce: s.Nonce, Difficulty: s.Difficulty,
	}
	if s.Accepted {
		if !k.collector.isNewHash(s.Hash) {
			return nil
		}
		sh.Credit, sh.Hashed = s.Difficulty, true
		sh.Computed.Hash, sh.Computed.Difficulty = s.Hash, difficulty.OfHash(&s.Hash)
	} else {
		sh.Reason = reasonOfC(s.Reason)
	}
	k.link.OnLoop(func(loop int) {
		sh.Loop = loop
		k.collector.options.Count(s.Worker, sh)
	})
	return nil
}

// isNewHash notes the hash of a share.
func (c *Collector) isNewHash(hash [32]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.hashes.Get(hash); known {
		return false
	}
	c.hashes.Put(hash, struct{}{})
	return true
}

// reasonOfC is why a share was refused, in the words of ckpool in C.
func reasonOfC(text string) session.Reason {
	for r := range session.Reason(session.Reasons) {
		if reject := r.Reject(); reject != nil && reject.Text == text {
			return r
		}
	}
	return session.AboveTarget
}
