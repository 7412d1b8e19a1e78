package etcdapi

import "strings"

// AdminPrefix is where the client port has etcdguard's own administration, over
// HTTP/1.1.
const AdminPrefix = "/etcdguard/v1/"

// adminCalls are the calls of the administration, by path below AdminPrefix.
var adminCalls = map[string]Action{
	"seal":            SealStatus,
	"seal/count":      SealCount,
	"seal/phase":      SealPhase,
	"seal/rotate":     SealRotate,
	"seal/retire":     SealRetire,
	"seal/reseal":     SealReseal,
	"seal/quarantine": SealQuarantine,
	"seal/backups":    SealBackups,
	"ring":            RingExport,
}

// AdminAction is the action that a call to path is, or NoAction. Paths are taken as
// they are: one that a server would have to clean first is no call.
func AdminAction(path string) Action {
	call, ok := strings.CutPrefix(path, AdminPrefix)
	if !ok {
		return NoAction
	}
	return adminCalls[call]
}

// AdminPath is the path of the call that is the action, "" where none is.
func AdminPath(a Action) string {
	for call, action := range adminCalls {
		if action == a {
			return AdminPrefix + call
		}
	}
	return ""
}
