package session

import (
	"fmt"
	"strings"

	"github.com/ckpool/ckpool/difficulty"
)

// showsMessages tells whether the miner is known to display show_message.
func (c client) showsMessages() bool {
	agent := strings.ToLower(c.agents.get(c.s.agent))
	return strings.Contains(agent, "gminer") || strings.HasPrefix(agent, "bitaxe")
}

func (c client) messageIfShown(text string) {
	if text != "" && c.showsMessages() {
		c.showMessage(text)
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
	return fmt.Sprintf("New best %sshare for %s: %s", ever, who, difficulty.FormatAchieved(d))
}
