package identities

import (
	"context"
	"net/http"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// httpTechniques are T16 and T17: what the client port says to who does not speak
// gRPC, and the services that would reach etcd behind the guard's back.
func httpTechniques() []technique {
	const everything = `{"key":"AA==","range_end":"AA=="}`
	gateway := func(name, path, body string) []technique {
		try := func(h2 bool) func(context.Context, target) error {
			return func(ctx context.Context, t target) error { return t.http(ctx, http.MethodPost, path, body, h2) }
		}
		return []technique{
			{threat: "T17", name: "JSON gateway, " + name + " (HTTP/1.1)", do: try(false)},
			{threat: "T17", name: "JSON gateway, " + name + " (HTTP/2)", do: try(true)},
		}
	}
	read := func(threat, name, path string, may ...string) technique {
		return technique{threat: threat, name: name, may: may,
			do: func(ctx context.Context, t target) error { return t.http(ctx, http.MethodGet, path, "", false) }}
	}
	var all []technique
	all = append(all, gateway("range over everything", "/v3/kv/range", everything)...)
	all = append(all, gateway("put", "/v3/kv/put", `{"key":"L290aGVyL3RoaW5n","value":"eA=="}`)...)
	all = append(all, gateway("snapshot", "/v3/maintenance/snapshot", `{}`)...)
	all = append(all, gateway("member list", "/v3/cluster/member/list", `{}`)...)
	all = append(all,
		read("T16", "command line and variables", "/debug/vars"),
		read("T16", "metrics", "/metrics", admin, monitor),
		read("T16", "health (control)", "/health", admin, monitor, healthcheck),
	)
	for _, rpc := range []string{
		"/v3lockpb.Lock/Lock", "/v3lockpb.Lock/Unlock", "/v3electionpb.Election/Campaign",
		"/v3electionpb.Election/Proclaim", "/v3electionpb.Election/Leader", "/v3electionpb.Election/Resign",
	} {
		all = append(all, technique{threat: "T11", name: rpc, do: invoke(rpc)})
	}
	absent := []technique{
		read("T16", "profiles", "/debug/pprof/"),
		read("T7", "members, as another member asks", "/members"),
		read("T7", "keys by the API of version 2", "/v2/keys/?recursive=true"),
		{threat: "T11", name: "an RPC that does not exist", do: invoke("/etcdserverpb.KV/NoSuchRPC")},
		{threat: "T11", name: "a service that does not exist", do: invoke("/no.such.Service/Do")},
		{threat: "T11", name: "a path without its first slash", do: invoke("etcdserverpb.KV/Range")}, // CVE-2026-33186
	}
	for i := range absent {
		absent[i].gone = true
	}
	return append(all, absent...)
}

// invoke calls an RPC by its path. The first field of each of these requests is
// bytes or a message that is sent empty, so an empty Range request is a valid one
// of all of them.
func invoke(rpc string) func(context.Context, target) error {
	return func(ctx context.Context, t target) error {
		return t.conn.Invoke(ctx, rpc, &pb.RangeRequest{}, &pb.PutResponse{})
	}
}
