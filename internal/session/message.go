package session

import (
	"fmt"
	"strings"

	"ckpool/internal/netserver"
)

// showsMessages tells whether the miner is known to display show_message.
func (h *Handler) showsMessages(s *session) bool {
	agent := strings.ToLower(h.agents.get(s.agent))
	return strings.Contains(agent, "gminer") || strings.HasPrefix(agent, "bitaxe")
}

func (h *Handler) messageIfShown(slot netserver.Slot, s *session, text string) {
	if text != "" && h.showsMessages(s) {
		h.showMessage(slot, text)
	}
}

func bestText(b Best, d float64) string {
	who, ever := "user", ""
	switch b {
	case BestWorker, BestWorkerEver:
		who = "worker"
	}
	switch b {
	case BestWorkerEver, BestUserEver:
		ever = "ever "
	}
	return fmt.Sprintf("New best %sshare for %s: %f", ever, who, d)
}
