package session

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"ckpool/internal/netserver"
	"ckpool/stratum"
)

// maskGrace is how long bits of an earlier, larger mask are accepted, in
// seconds.
const maskGrace = 60

// onConfigure answers mining.configure (BIP310): params are a list of
// extensions and an object of their parameters.
func (h *Handler) onConfigure(slot netserver.Slot, s *session) *stratum.Reject {
	var params []json.RawMessage
	if json.Unmarshal(h.msg.Params, &params) != nil {
		return &rejectParamsArray
	}
	var extensions []string
	options := map[string]json.RawMessage{}
	if len(params) == 0 || json.Unmarshal(params[0], &extensions) != nil {
		return &rejectParams
	}
	if len(params) > 1 && json.Unmarshal(params[1], &options) != nil {
		return &rejectParams
	}
	var answer []string
	for _, extension := range extensions {
		key, _ := json.Marshal(extension)
		granted := true
		switch extension {
		case "version-rolling":
			granted = h.grantMask(s, options["version-rolling.mask"])
			if granted {
				answer = append(answer, fmt.Sprintf(`"version-rolling.mask":"%08x"`, s.mask))
			}
		case "minimum-difficulty":
			var d float64
			if json.Unmarshal(options["minimum-difficulty.value"], &d) == nil && d > 0 && !s.is(fixed) {
				s.floor = h.clamp(s, d)
				s.want = max(s.want, s.floor)
			}
		case "subscribe-extranonce", "info":
		default:
			granted = false
		}
		answer = append(answer, string(key)+":"+strconv.FormatBool(granted))
	}
	h.write(slot, stratum.AppendResult(h.out[:0], h.msg.ID, "{"+strings.Join(answer, ",")+"}"))
	h.sendMask(slot, s)
	h.changeNow(slot, s, false)
	return nil
}

// grantMask intersects the miner's mask with ours. Nothing in common is a
// refusal.
func (h *Handler) grantMask(s *session, raw json.RawMessage) bool {
	theirs := uint64(0xffffffff)
	var text string
	if json.Unmarshal(raw, &text) == nil {
		v, err := strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, 32)
		if err != nil {
			return false
		}
		theirs = v
	}
	mask := h.poolMask() & uint32(theirs)
	if mask == 0 {
		return false
	}
	old := s.mask
	if !s.is(configured) {
		old = h.poolMask()
	}
	h.keepOldMask(s, old, mask)
	s.mask = mask
	s.flags |= configured
	return true
}

// keepOldMask keeps bits the miner may have used before accepted for a while.
func (h *Handler) keepOldMask(s *session, old, mask uint32) {
	if old&^mask != 0 {
		s.oldMask, s.maskUntil = old, h.seconds()+maskGrace
	}
}

func (h *Handler) poolMask() uint32 {
	if w := h.b.Work(); w != nil {
		return w.Job.Mask
	}
	return h.b.Settings().VersionMask
}

// jobMask is what the session may roll in the present job.
func (h *Handler) jobMask(s *session, jobs uint32) uint32 {
	if s.is(configured) {
		return s.mask & jobs
	}
	return jobs
}

// sendMask tells a miner that configured version rolling its mask: once, after
// authorize (earlier makes some firmware drop the connection), and again only
// if a job leaves it fewer bits.
func (h *Handler) sendMask(slot netserver.Slot, s *session) {
	if !s.is(configured | authorised) {
		return
	}
	mask := h.jobMask(s, h.poolMask())
	if s.is(maskSent) && mask == s.sentMask {
		return
	}
	if s.is(maskSent) {
		h.keepOldMask(s, s.sentMask, mask)
	}
	s.sentMask = mask
	s.flags |= maskSent
	h.write(slot, stratum.AppendSetVersionMask(h.out[:0], mask))
}
