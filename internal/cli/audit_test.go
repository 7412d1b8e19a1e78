package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/etcdguard/etcdguard/audit/evidence"
)

// make-log DIR [SEEN...]: writes an audit log of 1000 events in two segments, whose
// member has seen the logs in the directories SEEN, and DIR.key with its verifier key.
func makeLog(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	signer, err := evidence.CreateSigner(dir)
	ts.Check(err)
	l := &scriptLog{ts: ts, dir: dir, signer: signer, tree: &evidence.Tree{}}
	for _, seen := range args[1:] {
		l.add("witness", `,"note":`+strings.TrimSpace(ts.ReadFile(seen+".note")))
	}
	for l.tree.Size() < 999 {
		l.add("denied", fmt.Sprintf(`,"caller":{"name":"eve"},"reason":"no rule allows it %d"`, l.tree.Size()))
	}
	note, err := signer.Checkpoint(l.tree.Size(), l.tree.Root())
	ts.Check(err)
	quoted, err := json.Marshal(note)
	ts.Check(err)
	l.add("checkpoint", `,"note":`+string(quoted))
	l.flush()
	ts.Check(os.WriteFile(dir+".note", append(quoted, '\n'), 0o600))
	ts.Check(os.WriteFile(dir+".key", []byte(signer.Public()[0]+"\n"), 0o600))
}

type scriptLog struct {
	ts     *testscript.TestScript
	dir    string
	signer *evidence.Signer
	tree   *evidence.Tree
	first  int64
	text   []byte
}

func (l *scriptLog) add(kind, rest string) {
	if l.tree.Size()%512 == 0 {
		l.flush()
		l.first = l.tree.Size()
		l.text = l.tree.AppendHeader([]byte(`{"etcdguardAudit":1,`), l.signer.Origin())
		l.text = fmt.Appendf(l.text, `,"first":%d}`+"\n", l.first)
	}
	line := fmt.Appendf(nil, `{"seq":%d,"time":"2026-11-28T18:00:00.%09dZ","kind":%q%s}`, l.tree.Size(), l.tree.Size(), kind, rest)
	l.tree.Append(line)
	l.text = append(append(l.text, line...), '\n')
}

func (l *scriptLog) flush() {
	if len(l.text) > 0 {
		l.ts.Check(os.WriteFile(filepath.Join(l.dir, fmt.Sprintf("%020d.jsonl", l.first)), l.text, 0o600))
	}
}
