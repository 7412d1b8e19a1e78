package evidence

import (
	"encoding/json"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Header is what the first line of a segment says of the log before it.
type Header struct {
	Version int         `json:"etcdguardAudit"`
	Log     string      `json:"log"`
	First   int64       `json:"first"`
	Tree    []tlog.Hash `json:"tree"`
}

// ParseHeader reads a segment's first line.
func ParseHeader(line []byte) (h Header, err error) {
	if err := json.Unmarshal(line, &h); err != nil {
		return h, fmt.Errorf("reading a segment's header: %w", err)
	}
	if h.Version != 1 {
		return h, fmt.Errorf("reading a segment's header: version %d, and this etcdguard knows 1", h.Version)
	}
	return h, nil
}
