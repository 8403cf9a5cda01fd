package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// Generate is a Trigger that has a node on regtest make a block: with generate,
// which btcd knows, or else, given an address, with generatetoaddress, which
// Bitcoin Core knows. rpc is http://user:password@host:port; hosts other than
// this machine need allowRemote.
func Generate(rpc, address string, allowRemote bool) (Trigger, error) {
	u, err := url.Parse(rpc)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("rpc: must be http://user:password@host:port")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); !allowRemote && u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("rpc: %s is not on this machine: blocks are made on others only with --allow-remote", u.Host)
	}
	user := u.User
	u.User = nil
	method, params := "generate", []any{1}
	if address != "" {
		method, params = "generatetoaddress", []any{1, address}
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "1.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return nil, err
	}
	httpClient := &http.Client{Timeout: 30 * time.Second}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
		if err != nil {
			return err
		}
		if user != nil {
			password, _ := user.Password()
			req.SetBasicAuth(user.Username(), password)
		}
		resp, err := httpClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			return err
		}
		var reply struct{ Error *struct{ Message string } }
		if err := json.Unmarshal(answer, &reply); err != nil {
			return fmt.Errorf("%s: %s", method, resp.Status)
		}
		if reply.Error != nil {
			return fmt.Errorf("%s: %s", method, reply.Error.Message)
		}
		return nil
	}, nil
}
