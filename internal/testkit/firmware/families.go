package firmware

import "time"

const (
	esp32Document = 4096 // ArduinoJson's StaticJsonDocument of both ESP32 miners
	anyLength     = 16   // extranonce2 that current firmware takes
)

const (
	versionRolling = `[["version-rolling"],{"version-rolling.mask":"ffffffff"}]`
	bip310         = `[["version-rolling"],{"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":2}]`
	antminer       = `[["minimum-difficulty","version-rolling","subscribe-extranonce"],` +
		`{"minimum-difficulty.value":%.10g,"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":2}]`
)

// Families lists all of them.
func Families() []Family {
	waiting := []step{{configure, true}, {subscribe, true}, {authorize, true}}
	return []Family{
		{
			// ESP-Miner, 2026: pipelines its login, tells replies by their
			// shape, remembers job ids, begins its search anew with every
			// notify, clean or not.
			Name: "Bitaxe", UserAgent: "bitaxe/BM1370/v2.12.0",
			MinExtranonce2: 1, MaxExtranonce2: 32,
			traits: traits{
				login: []step{{configure, false}, {subscribe, false}, {authorize, true}, {suggest, false}, {subscribeExtranonce, false}},
				form:  versioned, firstID: 1, extensions: versionRolling, suggest: 1000,
				coinbaseLimit: 6500, branchLimit: 32, knownIDs: 16, guesses: true,
				silence: 3 * time.Minute, reconnects: toConfigured,
				restarts: onNotify, rolls: byXor,
			},
		},
		{
			// ESP-Miner, 2024 to mid 2025: suggests before it authorises, reads
			// whole difficulties, mines at a new one with its next work item.
			Name: "Bitaxe 2024", UserAgent: "bitaxe/BM1368/v2.3.0",
			MinExtranonce2: 1, MaxExtranonce2: 32,
			traits: traits{
				login: []step{{subscribe, false}, {configure, false}, {suggest, false}, {authorize, true}},
				form:  versioned, firstID: 1, extensions: versionRolling, suggest: 1000,
				coinbaseLimit: 6500, branchLimit: 32, integers: true,
				silence: 3 * time.Minute, reconnects: toConfigured,
				adopts: atOnce, restarts: onNotify, rolls: byXor,
			},
		},
		{
			// NerdMiner v2: one line after subscribe, no look at the authorize
			// reply, one extranonce2 for ever and the same first nonce with
			// every notify; a low one here, whose digits it does not pad.
			Name: "NerdMiner", UserAgent: "NerdMinerV2",
			MinExtranonce2: 2, MaxExtranonce2: 8,
			traits: traits{
				login:   []step{{subscribe, true}, {authorize, false}, {suggest, false}},
				form:    spaced,
				firstID: 1, suggest: 0.00015, keepAlive: 30 * time.Second,
				jsonDocument: esp32Document, coinbaseLimit: 255, workerLimit: 79, passwordLimit: 19,
				oneLine: true, silence: 10 * time.Minute,
				adopts: atOnce, restarts: onNotify, fixedNonce2: true, startNonce: 0x0a54e700, shortNonce: true,
			},
		},
		{
			// cgminer 4 as in Avalon, GekkoScience and much that derives from it.
			Name: "cgminer", UserAgent: "cgminer/4.12.1",
			MinExtranonce2: 2, MaxExtranonce2: anyLength,
			traits: traits{
				login: append(append([]step{}, waiting...), step{suggest, false}),
				form:  spaced, extensions: versionRolling, suggest: 42,
				coinbaseLimit: 750, silence: 90 * time.Second, reconnects: sameDomain,
				rolls: byReplacing, rollsTime: true,
			},
		},
		{
			// cgminer of 2013: four bytes of extranonce2 whatever is announced,
			// no version rolling.
			Name: "cgminer 3.7.2", UserAgent: "cgminer/3.7.2",
			MinExtranonce2: 4, MaxExtranonce2: 4,
			traits: traits{
				login:         []step{{subscribe, true}, {authorize, true}},
				form:          paramsFirst,
				coinbaseLimit: 750, nonce2Size: 4, silence: 90 * time.Second, reconnects: sameDomain,
			},
		},
		{
			// Bitmain's, with a configure of its own id and extensions.
			Name: "Antminer S19", UserAgent: "bmminer/2.0.0/Antminer S19j Pro/Thu Mar 17 09:57:57 CST 2022",
			MinExtranonce2: 2, MaxExtranonce2: 8,
			traits: traits{
				login: waiting,
				form:  spaced, firstID: 1, configureID: 9966, extensions: antminer, suggest: 1024,
				coinbaseLimit: 750, integers: true, silence: 90 * time.Second,
				rolls: byOr,
			},
		},
		{
			Name: "Antminer S21", UserAgent: "Antminer S21/Tue Nov  7 17:21:06 CST 2023",
			MinExtranonce2: 2, MaxExtranonce2: 8,
			traits: traits{
				login: waiting,
				form:  spaced, firstID: 1, configureID: 9966, extensions: antminer, suggest: 1024,
				coinbaseLimit: 2250, integers: true, dropsEarlyMask: true, silence: 90 * time.Second,
				rolls: byOr,
			},
		},
		{
			Name: "Whatsminer", UserAgent: "whatsminer/v1.1",
			MinExtranonce2: 2, MaxExtranonce2: 8,
			traits: traits{
				login: []step{{subscribe, true}, {configure, true}, {authorize, true}},
				form:  spaced, firstID: 1, extensions: bip310,
				coinbaseLimit: 6500, silence: 90 * time.Second,
				rolls: byReplacing,
			},
		},
		{
			Name: "Vnish", UserAgent: "xminer-1.2.6",
			MinExtranonce2: 2, MaxExtranonce2: 8,
			traits: traits{
				login: waiting,
				form:  compact, firstID: 1, extensions: bip310,
				coinbaseLimit: 16_000, silence: 90 * time.Second,
				rolls: byOr,
			},
		},
		{
			// At least one miner rolls the version only once it was told the
			// mask by set_version_mask; which is not known, this one stands for it.
			Name: "ePIC", UserAgent: "PowerPlay-BM/4.2.1",
			MinExtranonce2: 2, MaxExtranonce2: 8,
			traits: traits{
				login: waiting,
				form:  compact, firstID: 1, extensions: bip310,
				coinbaseLimit: 16_000, needsMask: true, silence: 90 * time.Second,
				rolls: byXor,
			},
		},
		{
			Name: "Braiins OS", UserAgent: "bosminer-plus-tuner 0.9.0-8b5f5ee8",
			MinExtranonce2: 2, MaxExtranonce2: 8,
			traits: traits{
				login: waiting,
				form:  compact, extensions: bip310,
				coinbaseLimit: 2250, silence: 90 * time.Second,
				rolls: byReplacing,
			},
		},
		{
			// The marketplace probes with no parameter and wants room for its
			// own buyers' miners.
			Name:           "Braiins Hashpower",
			MinExtranonce2: 7, MaxExtranonce2: anyLength,
			traits: traits{
				login: []step{{subscribe, true}, {configure, true}, {authorize, true}},
				form:  compact, firstID: 1, extensions: bip310,
				coinbaseLimit: 750, silence: 90 * time.Second,
				rolls: byReplacing, rollsTime: true,
			},
		},
		{
			// Many miners on one connection, each with its worker and its part
			// of the extranonce2 space.
			Name: "Braiins Farm Proxy", UserAgent: "farm-proxy/24.06",
			MinExtranonce2: 4, MaxExtranonce2: anyLength,
			traits: traits{
				login: []step{{configure, true}, {subscribe, true}, {subscribeExtranonce, true}, {authorize, true}},
				form:  compact, extensions: bip310, logins: 5,
				coinbaseLimit: 750, silence: 90 * time.Second,
				rolls: byReplacing,
			},
		},
		{
			// The rental service, with its stamp where others give the id of a
			// session to resume.
			Name: "NiceHash", UserAgent: "NiceHash/1.0.0",
			MinExtranonce2: 4, MaxExtranonce2: anyLength,
			traits: traits{
				login:     []step{{subscribe, true}, {subscribeExtranonce, true}, {authorize, true}},
				subscribe: []any{"c7d8a2f1e0b94c55", "1795332621"},
				form:      compact, firstID: 1,
				coinbaseLimit: 500, silence: 90 * time.Second,
			},
		},
		{
			// A rented Antminer: asks for extranonce changes before it
			// subscribes, calls authorize login, rolls the version although it
			// never asked to, and its ids are strings.
			Name: "MiningRigRentals", UserAgent: "cgminer/4.9.0",
			MinExtranonce2: 4, MaxExtranonce2: 8,
			traits: traits{
				login:       []step{{subscribeExtranonce, false}, {subscribe, true}, {authorize, true}},
				loginMethod: "login",
				form:        paramsFirst,
				stringIDs:   true, coinbaseLimit: 750, silence: 90 * time.Second, reconnects: toConfigured,
				rolls: byOr, unasked: true,
			},
		},
		{
			// The reference translator: mines at the next power of two.
			Name: "SV2 translator", UserAgent: "translator_sv2/0.1.0",
			MinExtranonce2: 4, MaxExtranonce2: anyLength,
			traits: traits{
				login: waiting,
				form:  compact, extensions: bip310, nextPower: true,
				coinbaseLimit: 750, silence: 90 * time.Second,
				rolls: byReplacing,
			},
		},
		{
			// SparkMiner on ESP32: fixed buffers for every field, suggests
			// before it authorises.
			Name: "SparkMiner", UserAgent: "SparkMiner/2.9.1",
			MinExtranonce2: 2, MaxExtranonce2: 8,
			traits: traits{
				login: []step{{subscribe, true}, {suggest, false}, {authorize, true}},
				form:  compact, firstID: 1, suggest: 0.0014,
				lineLimit: 4096, jsonDocument: esp32Document, coinbaseLimit: 255, coinb1Limit: 511, coinb2Limit: 255,
				branchLimit: 16, jobIDLimit: 31, workerLimit: 153,
				silence: 700 * time.Second,
				adopts:  atOnce,
			},
		},
		{
			// No firmware in particular: what several are known to do.
			// Authorises first, twice, and speaks of nothing but shares.
			Name: "Authorize first", UserAgent: "",
			MinExtranonce2: 2, MaxExtranonce2: 8,
			traits: traits{
				login: []step{{authorize, false}, {subscribe, true}, {authorize, true}, {subscribe, false}},
				form:  compact, stringIDs: true,
				coinbaseLimit: 750, silence: 90 * time.Second,
			},
		},
	}
}
