package difftest

import (
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

func events(id, header int64, revs ...int64) *pb.WatchResponse {
	r := &pb.WatchResponse{WatchId: id, Header: &pb.ResponseHeader{Revision: header}}
	for _, rev := range revs {
		r.Events = append(r.Events, &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte("k"), ModRevision: rev}})
	}
	return r
}

// at sets the revision of a response's header.
func at(r *pb.WatchResponse, rev int64) *pb.WatchResponse {
	r.Header = &pb.ResponseHeader{Revision: rev}
	return r
}

func TestBrokenPromisesOfAStreamAreNoticed(t *testing.T) {
	created := func(id int64) *pb.WatchResponse { return &pb.WatchResponse{WatchId: id, Created: true} }
	canceled := func(id int64) *pb.WatchResponse { return &pb.WatchResponse{WatchId: id, Canceled: true} }
	progress := func(id, rev int64) *pb.WatchResponse { return events(id, rev) }
	torn := events(1, 9, 5)
	torn.Fragment = true
	for name, c := range map[string]struct {
		responses []*pb.WatchResponse
		fault     string
	}{
		"in order":                       {[]*pb.WatchResponse{created(1), events(1, 5, 4, 5), progress(-1, 6), events(1, 7, 7)}, ""},
		"history on a late response":     {[]*pb.WatchResponse{created(1), events(1, 9, 4, 5, 5)}, ""},
		"fragments of one revision":      {[]*pb.WatchResponse{created(1), torn, events(1, 9, 5)}, ""},
		"unasked fragments":              {[]*pb.WatchResponse{created(1), torn}, "not asked for"},
		"an unasked third watcher":       {[]*pb.WatchResponse{created(1), created(2), created(3)}, "not asked for"},
		"old history for a new watcher":  {[]*pb.WatchResponse{created(1), progress(-1, 9), created(2), events(2, 9, 4)}, ""},
		"progress from before a watcher": {[]*pb.WatchResponse{at(created(2), 9), progress(-1, 9), events(2, 9, 4)}, ""},
		"progress soon after a watcher":  {[]*pb.WatchResponse{at(created(2), 9), progress(-1, 10), events(2, 10, 4)}, "after progress 10"},
		"backwards":                      {[]*pb.WatchResponse{created(1), events(1, 5, 5), events(1, 5, 4)}, "revision 4 after 5"},
		"backwards in one response":      {[]*pb.WatchResponse{created(1), events(1, 5, 5, 4)}, "revision 4 after 5"},
		"torn":                           {[]*pb.WatchResponse{created(1), events(1, 5, 5), events(1, 5, 5)}, "torn"},
		"progress first":                 {[]*pb.WatchResponse{created(1), progress(-1, 6), events(1, 6, 6)}, "after progress 6"},
		"a watcher's own progress first": {[]*pb.WatchResponse{created(1), progress(1, 6), events(1, 6, 6)}, "after progress 6"},
		"before created":                 {[]*pb.WatchResponse{events(1, 5, 5)}, "does not exist"},
		"after canceled":                 {[]*pb.WatchResponse{created(1), canceled(1), events(1, 5, 5)}, "does not exist"},
		"progress of nobody":             {[]*pb.WatchResponse{progress(3, 5)}, "does not exist"},
		"a header of the past":           {[]*pb.WatchResponse{created(1), events(1, 4, 5)}, "header revision 4"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newWatchLog()
			l.asked = []bool{!strings.Contains(name, "unasked"), false}
			for _, r := range c.responses {
				l.read(r)
			}
			faults := strings.Join(l.faults, "; ")
			if c.fault == "" && faults != "" || !strings.Contains(faults, c.fault) {
				t.Errorf("faults %q, want %q", faults, c.fault)
			}
		})
	}
}
