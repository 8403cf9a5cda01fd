package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ckpool/ckpool/internal/page"
	"github.com/ckpool/ckpool/internal/store"
	"github.com/ckpool/ckpool/work"
)

// meanings of the settings.
var meanings = map[string]string{
	store.SettingScheme:   "how a block is divided, pplns or proportional; a solo pool's are always its finder's",
	store.SettingTimes:    "of the network's difficulty, that a pplns window has",
	store.SettingAdd:      "difficulty that it has besides",
	store.SettingFee:      "of a block, in millionths; 0.9% is 9000ppm",
	store.SettingPayer:    "who pays the network's fee of a payout, pool or users",
	store.SettingLeast:    "satoshis that an account must have to be paid",
	store.SettingFeeMost:  "satoshis of the network's fee of one payout at most",
	store.SettingRateMost: "satoshis of it per 1,000 virtual bytes at most",
	store.SettingAutopay:  "satoshis that a payout which no person sends may have at most; 0: none is sent",
	store.SettingDay:      "satoshis that such payouts may have in a day together",
	store.SettingRetired:  "ids of pools that rewards do not wait for",
	store.SettingStart:    "height of the first block that is rewarded; without it that of the first job",
	store.SettingWait:     "seconds until a changed payout address holds",
	store.SettingScripts:  "scripts of the pool's outputs, in hex, besides those of its jobs",
}

// inForce is a setting as it is, or will be.
type inForce struct {
	Name    string `json:"name"`
	User    string `json:"user"` // "": of all
	Value   string `json:"value"`
	From    string `json:"from"` // "": always
	Meaning string `json:"meaning"`
}

// said is what somebody set.
type said struct {
	Number int64  `json:"number"`
	Time   int64  `json:"time"`
	By     string `json:"by"`
	Name   string `json:"name"`
	User   string `json:"user"`
	Value  string `json:"value"`
	Since  int64  `json:"since"` // time from which it holds, unix seconds; 0: any
	Height int64  `json:"from_height"`
	From   string `json:"from"`
}

func (c *call) set(ctx context.Context) error {
	return c.with(ctx, func(s *store.Store) error {
		if len(c.args) > 0 && !slices.Contains(store.SettingNames(), c.args[0]) {
			return unknownSetting(c.args[0])
		}
		var of store.Owner
		if c.of != "" {
			var err error
			if of, err = ownerNamed(ctx, s, c.of); err != nil {
				return err
			}
		}
		switch len(c.args) {
		case 0:
			return c.settings(ctx, s, of)
		case 1:
			return c.history(ctx, s, of)
		}
		return c.change(ctx, s, of)
	})
}

// fee is the setting of one account: what the pool keeps of its rewards.
func (c *call) fee(ctx context.Context) error {
	return c.with(ctx, func(s *store.Store) error {
		of, err := ownerNamed(ctx, s, c.args[0])
		if err != nil {
			return err
		}
		c.args = append([]string{store.SettingFee}, c.args[1:]...)
		if len(c.args) == 1 {
			return c.history(ctx, s, of)
		}
		return c.change(ctx, s, of)
	})
}

func unknownSetting(name string) error {
	return fmt.Errorf("there is no setting %q, want one of %s", name, strings.Join(store.SettingNames(), ", "))
}

func (c *call) settings(ctx context.Context, s *store.Store, of store.Owner) error {
	list, err := settingsInForce(ctx, s, of, time.Local)
	if err != nil {
		return err
	}
	return c.print(struct {
		Settings []inForce `json:"settings"`
	}{list})
}

// settingsInForce are those in force and to come, in a time zone; of nobody, those of all.
func settingsInForce(ctx context.Context, s *store.Store, of store.Owner, zone *time.Location) ([]inForce, error) {
	all, err := s.Settings(ctx)
	if err != nil {
		return nil, err
	}
	tip, _, err := s.Tip(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now().UnixMicro()
	list := []inForce{}
	for _, name := range store.SettingNames() {
		owners := []store.Owner{of}
		for _, v := range all {
			if of == (store.Owner{}) && v.Name == name && !slices.Contains(owners, v.Owner) {
				owners = append(owners, v.Owner)
			}
		}
		for _, o := range owners {
			value, err := s.SettingAt(ctx, name, o, now, tip.Height+1)
			if err != nil {
				return nil, err
			}
			list = append(list, inForce{name, o.Name, value, "", meanings[name]})
			for _, v := range all {
				if v.Name == name && v.Owner == o && (v.Since > now || v.Height > tip.Height+1) {
					list = append(list, inForce{name, o.Name, v.Value, from(&v, zone), ""})
				}
			}
		}
	}
	return list, nil
}

// from says from when on a setting holds, in a time zone.
func from(v *store.Setting, zone *time.Location) string {
	var parts []string
	if v.Since > 0 {
		text := time.UnixMicro(v.Since).In(zone).Format(timeLayout)
		if zone == time.UTC { // for people elsewhere
			text += " UTC"
		}
		parts = append(parts, text)
	}
	if v.Height > 0 {
		parts = append(parts, fmt.Sprintf("height %d", v.Height))
	}
	return cmp.Or(strings.Join(parts, ", "), "the beginning")
}

func (c *call) history(ctx context.Context, s *store.Store, of store.Owner) error {
	all, err := s.Settings(ctx)
	if err != nil {
		return err
	}
	list := []said{}
	for _, v := range all {
		if v.Name == c.args[0] && (of == store.Owner{} || of == v.Owner) {
			list = append(list, said{v.Number, v.At / 1_000_000, v.By, v.Name, v.Owner.Name, v.Value, v.Since / 1_000_000, v.Height, from(&v, time.Local)})
		}
	}
	tip, _, err := s.Tip(ctx)
	if err != nil {
		return err
	}
	value, err := s.SettingAt(ctx, c.args[0], of, time.Now().UnixMicro(), tip.Height+1)
	if err != nil {
		return err
	}
	if !c.json {
		l := c.Lines()
		l.Print(c.args[0], page.OneLine(cmp.Or(value, "nothing"))+": "+meanings[c.args[0]])
		if err := l.Flush(); err != nil || len(list) == 0 {
			return err
		}
	}
	return c.print(struct {
		History []said `json:"history"`
	}{list})
}

const timeLayout = "2006-01-02 15:04:05"

// change sets a setting.
func (c *call) change(ctx context.Context, s *store.Store, of store.Owner) error {
	v, before, err := setSetting(ctx, s, store.Setting{Name: c.args[0], Owner: of, Value: c.args[1], By: person()}, c.when, time.Local)
	if errors.Is(err, errWhen) {
		return fmt.Errorf("--from %w", err)
	}
	if err != nil {
		return orProve(of, err)
	}
	if c.json {
		return c.print(said{v.Number, v.At / 1_000_000, v.By, v.Name, v.Owner.Name, v.Value, v.Since / 1_000_000, v.Height, from(&v, time.Local)})
	}
	text := fmt.Sprintf("%s is %s from %s on", v.Name, v.Value, from(&v, time.Local))
	if of != (store.Owner{}) {
		text = fmt.Sprintf("%s of %s is %s from %s on", v.Name, of, v.Value, from(&v, time.Local))
	}
	for _, o := range before {
		if o.Name == v.Name && o.Owner == v.Owner && o.Since < v.Since && v.Since <= v.At && o.Height > v.Height {
			text += fmt.Sprintf("; %s, which was set from %s on, holds no more", o.Value, from(&o, time.Local))
		}
	}
	_, err = fmt.Fprintln(c, page.OneLine(text))
	return err
}

// setSetting sets what people say, from when on they say, in a time zone; and gives what was
// set before.
func setSetting(ctx context.Context, s *store.Store, v store.Setting, when string, zone *time.Location) (set store.Setting, before []store.Setting, err error) {
	v.Since = time.Now().UnixMicro()
	if v.Name == store.SettingFee {
		if v.Value, err = millionths("fee", v.Value); err != nil {
			return v, nil, err
		}
	}
	if before, err = s.Settings(ctx); err == nil {
		err = begin(&v, when, zone, before)
	}
	if err == nil {
		v, err = s.Set(ctx, v)
	}
	return v, before, err
}

// errWhen tells that a time or height cannot be read.
var errWhen = errors.New("want a height, such as 900000, or a time, such as 2026-01-31 or \"2026-01-31 12:00\"")

// begin reads from when on a setting holds, which is now where nobody says so.
func begin(v *store.Setting, text string, zone *time.Location, all []store.Setting) error {
	if text == "" {
		return nil
	}
	if height, err := strconv.ParseInt(text, 10, 64); err == nil {
		if height < 0 {
			return fmt.Errorf("%s: a height is not negative: %w", text, errWhen)
		}
		// Of settings that have begun, that with the latest time holds, then the greatest
		// height: beside those of before it begins with the latest of them.
		now := v.Since
		v.Since, v.Height = 0, height
		for _, o := range all {
			if o.Name == v.Name && o.Owner == v.Owner && o.Since <= now {
				v.Since = max(v.Since, o.Since)
			}
		}
		return nil
	}
	for _, layout := range []string{time.RFC3339, timeLayout, "2006-01-02 15:04", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, text, zone); err == nil {
			v.Since = at.UnixMicro()
			return nil
		}
	}
	return fmt.Errorf("%q: %w", text, errWhen)
}

// millionths reads a ratio: a percentage with % behind it, or millionths with ppm. A
// number alone could be either, and is refused unless it is 0.
func millionths(what, text string) (string, error) {
	number, percent := strings.CutSuffix(text, "%")
	places := 4
	if !percent {
		var ok bool
		if number, ok = strings.CutSuffix(text, "ppm"); !ok && text != "0" {
			if strings.Trim(text, "0123456789.") == "" && text != "" {
				return "", fmt.Errorf("%s %q: percent or millionths? Say %s%%, or %sppm", what, text, text, text)
			}
			return "", fmt.Errorf("%s %q: want a percentage, such as 0.9%%, or millionths, such as 9000ppm", what, text)
		}
		places = 0
	}
	whole, part, _ := strings.Cut(strings.TrimSpace(number), ".")
	part = strings.TrimRight(part, "0")
	n, err := strconv.ParseUint(whole+part+strings.Repeat("0", max(places-len(part), 0)), 10, 32)
	if err != nil || whole == "" || len(part) > places || n > 1_000_000 {
		return "", fmt.Errorf("%s %q: want a percentage from 0%% to 100%% with at most 4 decimals, such as 0.9%%, or whole millionths up to 1000000ppm, such as 9000ppm", what, text)
	}
	return strconv.FormatUint(n, 10), nil
}

// person is who gives the command, for the audit log.
func person() string {
	if name := os.Getenv("SUDO_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}

// auditRow is a change that a person made.
type auditRow struct {
	Number  int64  `json:"number"`
	Time    int64  `json:"time"`
	By      string `json:"by"`
	What    string `json:"what"`
	Subject string `json:"subject"`
	Before  string `json:"before"`
	After   string `json:"after"`
}

func (c *call) auditLog(ctx context.Context) error {
	return c.with(ctx, func(s *store.Store) error {
		rows, err := s.Audit(ctx, 0)
		if err != nil {
			return err
		}
		list := []auditRow{}
		for _, r := range slices.Backward(rows) {
			list = append(list, auditRow{r.Number, r.At / 1_000_000, r.By, r.What, r.Subject, r.Before, r.After})
		}
		return c.print(struct {
			Changes []auditRow `json:"changes"`
		}{list})
	})
}

// ofBlock says something of the block that is named by its hash.
func (c *call) ofBlock(ctx context.Context, done string, say func(s *store.Store, hash [32]byte) error) error {
	hash, err := work.ParseHash(c.args[0])
	if err != nil {
		return fmt.Errorf("%q: want the hash of a block, which \"ckdb rewards\" lists", c.args[0])
	}
	return c.with(ctx, func(s *store.Store) error {
		if err := say(s, hash); err != nil {
			return err
		}
		return c.done(done)
	})
}

// done says what was done.
func (c *call) done(text string) error {
	if c.json {
		return c.print(struct {
			Done string `json:"done"`
		}{text})
	}
	_, err := fmt.Fprintln(c, page.OneLine(text))
	return err
}

func (c *call) bookBlock(ctx context.Context) error {
	to := store.Booking(c.args[1])
	if to != store.ToMiners && to != store.ToPool {
		return fmt.Errorf("%q: want %q, as of any block, or %q, as fee", c.args[1], store.ToMiners, store.ToPool)
	}
	return c.ofBlock(ctx, "booked to "+c.args[1]+"; the ckdb that follows the chain posts it", func(s *store.Store, hash [32]byte) error {
		return s.Book(ctx, person(), hash, to)
	})
}

func (c *call) passBlock(ctx context.Context) error {
	return c.ofBlock(ctx, "higher blocks do not wait for it", func(s *store.Store, hash [32]byte) error { return s.Pass(ctx, person(), hash) })
}

func (c *call) bookAlarm(ctx context.Context) error {
	return c.with(ctx, func(s *store.Store) error {
		if err := s.BookWork(ctx, person(), c.args[0], strings.Join(c.args[1:], " ")); err != nil {
			return err
		}
		return c.done("booked; payouts go on if there is no other alarm of work")
	})
}

// retire says that an instance never comes back.
func (c *call) retire(ctx context.Context) error {
	return c.with(ctx, func(s *store.Store) error {
		instances, err := s.Instances(ctx)
		if err != nil {
			return err
		}
		var names, found []string
		for _, i := range instances {
			id := hex.EncodeToString(i.ID[:])
			names = append(names, fmt.Sprintf("%s (%s)", i.Name, id))
			if i.Name == c.args[0] || id == strings.ToLower(c.args[0]) {
				found = append(found, id)
			}
		}
		switch {
		case len(found) == 0:
			return fmt.Errorf("there is no instance %q, want one of %s", c.args[0], strings.Join(names, ", "))
		case len(found) > 1:
			return fmt.Errorf("%q is the name of several: name one by its id, %s", c.args[0], strings.Join(found, ", "))
		}
		now := time.Now().UnixMicro()
		retired, err := s.SettingAt(ctx, store.SettingRetired, store.Owner{}, now, math.MaxInt64)
		if err != nil {
			return err
		}
		list := strings.FieldsFunc(retired, func(r rune) bool { return r == ',' })
		if slices.Contains(list, found[0]) {
			return errors.New("it is retired already")
		}
		if _, err := s.Set(ctx, store.Setting{Name: store.SettingRetired, Value: strings.Join(append(list, found[0]), ","), Since: now, By: person()}); err != nil {
			return err
		}
		return c.done(found[0] + " is retired: rewards do not wait for its journal")
	})
}
