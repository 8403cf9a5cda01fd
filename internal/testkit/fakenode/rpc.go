package fakenode

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// maxBody is what Core takes in one request.
const maxBody = 32 << 20

type request struct {
	Version string            `json:"jsonrpc"`
	ID      json.RawMessage   `json:"id"`
	Method  string            `json:"method"`
	Params  []json.RawMessage `json:"params"`
}

// rpcError is Core's error object. Codes in use: -1 misc, -5 not found, -8 bad
// parameter, -9 not connected, -10 downloading, -22 not decodable, -28 warming up.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *rpcError) Error() string { return e.Message }

// ServeHTTP answers one call with Core's status codes, headers and layout.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.count("")
	if r.Method != http.MethodPost {
		http.Error(w, "JSONRPC server handles only POST requests", http.StatusMethodNotAllowed)
		return
	}
	if !n.authorized(r) {
		unauthorized(w)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return
	}
	var req request
	if err := json.Unmarshal(body, &req); err != nil || req.Method == "" {
		req = request{ID: json.RawMessage("null")}
		reply(w, &req, nil, &rpcError{-32700, "Parse error"})
		return
	}
	n.count(req.Method)
	n.mu.Lock()
	recorded := n.replay[req.Method]
	n.mu.Unlock()
	if recorded != nil {
		sendRecorded(w, recorded)
		return
	}
	f := n.failing(req.Method, req.tries())
	if n.fail(w, r, &req, f) {
		return
	}
	result, rerr := n.call(r.Context(), &req, f)
	if f.Kind == Truncated {
		w = &halfWriter{ResponseWriter: w}
	}
	reply(w, &req, result, rerr)
}

// fail answers for a fault; false: the call goes on.
func (n *Node) fail(w http.ResponseWriter, r *http.Request, req *request, f Fault) bool {
	switch f.Kind {
	case WarmingUp:
		reply(w, req, nil, &rpcError{-28, "Loading block index…"})
	case NotConnected:
		reply(w, req, nil, &rpcError{-9, "Bitcoin Core is not connected!"})
	case Downloading:
		reply(w, req, nil, &rpcError{-10, "Bitcoin Core is in initial sync and waiting for blocks..."})
	case Unauthorized:
		unauthorized(w)
	case Forbidden:
		w.Header()["Content-Type"] = []string{"text/html; charset=ISO-8859-1"}
		w.WriteHeader(http.StatusForbidden)
	case WorkQueue:
		w.Header()["Content-Type"] = []string{"text/html; charset=ISO-8859-1"}
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "Work queue depth exceeded")
	case Hang:
		n.hang(r.Context())
		return false
	case Cut:
		cut()
	default:
		return false
	}
	return true
}

// tries: it submits what is too short for a block, to see whether it may submit.
func (r *request) tries() bool {
	var text string
	return r.Method == "submitblock" && r.param(0, &text) == nil && len(text) < 160
}

func (n *Node) count(method string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls[method]++
}

// authorized compares with user and password and with the present cookie.
func (n *Node) authorized(r *http.Request) bool {
	user, password, given := r.BasicAuth()
	if !given {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	login := user + ":" + password
	return n.config.User != "" && login == n.config.User+":"+n.config.Password ||
		n.cookie != "" && login == n.cookie
}

func unauthorized(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Basic realm="jsonrpc"`)
	w.Header()["Content-Type"] = []string{"text/html; charset=ISO-8859-1"}
	w.WriteHeader(http.StatusUnauthorized)
}

// reply writes a call's outcome in the layout of the request's version: 1.x
// has both members and an HTTP status that says so, 2.0 has one and always 200.
func reply(w http.ResponseWriter, req *request, result [][]byte, rerr *rpcError) {
	var head, tail []byte
	v2 := req.Version == "2.0"
	status := http.StatusOK
	if v2 {
		head = append(head, `{"jsonrpc":"2.0",`...)
	} else {
		head = append(head, '{')
	}
	switch {
	case rerr == nil && v2:
		head = append(head, `"result":`...)
	case rerr == nil:
		head = append(head, `"result":`...)
		tail = append(tail, `,"error":null`...)
	default:
		text, err := json.Marshal(rerr)
		if err != nil {
			panic("fakenode: marshalling an error cannot fail: " + err.Error())
		}
		result = nil
		if !v2 {
			head = append(head, `"result":null,`...)
			status = httpStatus(rerr.Code)
		}
		head = fmt.Appendf(head, `"error":%s`, text)
	}
	if req.ID != nil {
		tail = append(append(tail, `,"id":`...), req.ID...)
	}
	tail = append(tail, '}', '\n')
	length := len(head) + len(tail)
	for _, part := range result {
		length += len(part)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(status)
	for _, part := range append(append([][]byte{head}, result...), tail) {
		if _, err := w.Write(part); err != nil {
			return
		}
	}
}

func httpStatus(code int) int {
	switch code {
	case -32600:
		return http.StatusBadRequest
	case -32601:
		return http.StatusNotFound
	default:
		return http.StatusInternalServerError
	}
}

// sendRecorded writes a whole recorded HTTP answer to the socket.
func sendRecorded(w http.ResponseWriter, answer []byte) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		cut()
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
	_, _ = conn.Write(answer)
}

// halfWriter cuts the connection when half the announced body is written.
type halfWriter struct {
	http.ResponseWriter
	left int
}

func (h *halfWriter) WriteHeader(status int) {
	h.left, _ = strconv.Atoi(h.Header().Get("Content-Length"))
	h.left /= 2
	h.ResponseWriter.WriteHeader(status)
}

func (h *halfWriter) Write(p []byte) (int, error) {
	if len(p) <= h.left {
		h.left -= len(p)
		return h.ResponseWriter.Write(p)
	}
	_, _ = h.ResponseWriter.Write(p[:h.left])
	_ = http.NewResponseController(h.ResponseWriter).Flush()
	cut()
	return 0, nil
}
