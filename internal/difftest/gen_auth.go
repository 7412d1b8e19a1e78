package difftest

import (
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

var (
	users = []string{"u1", "u2", "u3", "nopass"}
	roles = []string{"r1", "r2", "r3"}
)

// identity is whose token the next request carries: mostly root's while users are
// switched on, so that the store keeps moving.
func (g *generator) identity() identityRef {
	if !g.w.authOn {
		if g.chance(2) {
			return forged // not looked at
		}
		return nobody
	}
	switch n := g.rng.IntN(20); {
	case n < 11:
		return rootUser
	case n < 18:
		return g.user()
	case n < 19:
		return forged
	default:
		return nobody
	}
}

// user is a user that was given a token, since switched on; it may be void by now.
func (g *generator) user() identityRef {
	var have []identityRef
	for as := range g.r.token {
		have = append(have, as)
	}
	slices.Sort(have)
	if len(have) == 0 {
		return nobody
	}
	return pick(g, have)
}

// anybody is an identity that must not be refused.
func (g *generator) anybody() identityRef {
	if g.w.authOn {
		return rootUser
	}
	return nobody
}

func password(user string) string { return "password of " + user }

func (g *generator) authenticateUsers() {
	for _, u := range users {
		g.r.do(request{rpc: "Auth.Authenticate", msgs: []proto.Message{&pb.AuthenticateRequest{Name: u, Password: password(u)}}})
	}
}

// basicUsers sets up users who may do something, for the random rest to build on.
func (g *generator) basicUsers() {
	for _, q := range []struct {
		rpc string
		msg proto.Message
	}{
		{"Auth.UserAdd", &pb.AuthUserAddRequest{Name: "u1", Password: password("u1")}},
		{"Auth.UserAdd", &pb.AuthUserAddRequest{Name: "u2", Password: password("u2")}},
		{"Auth.UserAdd", &pb.AuthUserAddRequest{Name: "nopass", HashedPassword: "bm90IGEgaGFzaA==", Options: &authpb.UserAddOptions{NoPassword: true}}},
		{"Auth.RoleAdd", &pb.AuthRoleAddRequest{Name: "r1"}},
		{"Auth.RoleAdd", &pb.AuthRoleAddRequest{Name: "r2"}},
		{"Auth.RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: "r1",
			Perm: &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: []byte("a"), RangeEnd: []byte("m")}}},
		{"Auth.RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: "r2",
			Perm: &authpb.Permission{PermType: authpb.Permission_READ, Key: []byte("c/"), RangeEnd: []byte("c0")}}},
		{"Auth.RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: "r2",
			Perm: &authpb.Permission{PermType: authpb.Permission_WRITE, Key: []byte("z")}}},
		{"Auth.RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: "r2", Key: []byte("z")}},
		{"Auth.UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "u1", Role: "r1"}},
		{"Auth.UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "u2", Role: "r2"}},
		{"Auth.RoleAdd", &pb.AuthRoleAddRequest{}},
		{"Auth.AuthEnable", &pb.AuthEnableRequest{}}, // without root
		{"Auth.Authenticate", &pb.AuthenticateRequest{Name: "u1", Password: password("u1")}},
	} {
		g.send(q.rpc, q.msg)
	}
}

// refusals has every RPC refused once, for a token that nobody was given.
func (g *generator) refusals() {
	for _, name := range methodNames {
		if name != "Watch.Watch" {
			g.r.do(request{rpc: name, as: forged, msgs: []proto.Message{newMessage(methods[name].desc.Input())}})
		}
	}
}

func (g *generator) auth() {
	user := pick(g, append([]string{""}, users...))
	role := pick(g, append([]string{"", "root"}, roles...))
	if g.chance(60) { // the empty name is an error everywhere
		user, role = pick(g, users), pick(g, roles)
	}
	switch g.rng.IntN(20) {
	case 0, 1:
		q := &pb.AuthUserAddRequest{Name: user, Password: password(user)}
		switch {
		case user == "nopass":
			q.Password, q.Options = "", &authpb.UserAddOptions{NoPassword: true}
			if g.chance(30) {
				q.HashedPassword = "bm90IGEgaGFzaA=="
			}
		case g.chance(5):
			q.Password = string(make([]byte, 73)) // longer than bcrypt takes
		}
		g.send("Auth.UserAdd", q)
	case 2:
		g.send("Auth.UserGet", &pb.AuthUserGetRequest{Name: user})
	case 3:
		g.send("Auth.UserList", &pb.AuthUserListRequest{})
	case 4:
		if g.chance(50) {
			user = pick(g, []string{rootUser, "nobody"}) // root can't go while users are on
			if !g.w.authOn {
				user = "nobody"
			}
		}
		g.send("Auth.UserDelete", &pb.AuthUserDeleteRequest{Name: user})
	case 5:
		q := &pb.AuthUserChangePasswordRequest{Name: user, Password: password(user)}
		if g.chance(20) {
			q.Password, q.HashedPassword = "", "not base64"
		}
		g.send("Auth.UserChangePassword", q)
	case 6, 7, 8:
		g.send("Auth.UserGrantRole", &pb.AuthUserGrantRoleRequest{User: user, Role: role})
	case 9:
		if g.chance(30) && g.w.authOn {
			user, role = rootUser, rootUser // refused
		}
		g.send("Auth.UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: user, Role: role})
	case 10, 11:
		if role == rootUser {
			role = "r1"
		}
		g.send("Auth.RoleAdd", &pb.AuthRoleAddRequest{Name: role})
	case 12:
		g.send("Auth.RoleGet", &pb.AuthRoleGetRequest{Role: role})
	case 13:
		g.send("Auth.RoleList", &pb.AuthRoleListRequest{})
	case 14:
		if role != rootUser || g.w.authOn {
			g.send("Auth.RoleDelete", &pb.AuthRoleDeleteRequest{Role: role})
		}
	case 15, 16, 17:
		g.grantPermission(role)
	case 18:
		q := &pb.AuthRoleRevokePermissionRequest{Role: role}
		q.Key, q.RangeEnd = g.permissionRange()
		g.send("Auth.RoleRevokePermission", q)
	default:
		g.authState(user)
	}
}

func (g *generator) grantPermission(role string) {
	q := &pb.AuthRoleGrantPermissionRequest{Name: role}
	if g.chance(90) {
		q.Perm = &authpb.Permission{PermType: authpb.Permission_Type(g.rng.IntN(3))}
		q.Perm.Key, q.Perm.RangeEnd = g.permissionRange()
	}
	g.send("Auth.RoleGrantPermission", q)
}

// permissionRange has few values, so that revoking finds what granting gave. None
// starts at \x01 and is open: the guard asks etcd for [\x01, …) where the client
// said [\x00, …), and such a right would tell the two apart.
func (g *generator) permissionRange() (key, end []byte) {
	r := pick(g, [][2]string{{"a", ""}, {"a", "m"}, {"c/", "c0"}, {"", "\x00"}, {"m", "\x00"}, {"b", "a"}, {"registry/", "registry0"}, {"sync", ""}})
	return []byte(r[0]), []byte(r[1])
}

// authState reads or throws the switch. Throwing it without a root user fails, and
// without root's token is refused; enableAuth and reset throw it for good.
func (g *generator) authState(user string) {
	switch g.rng.IntN(4) {
	case 0:
		g.send("Auth.AuthStatus", &pb.AuthStatusRequest{})
	case 1:
		q := &pb.AuthenticateRequest{Name: user, Password: password(user)}
		switch {
		case g.w.authOn && g.chance(30):
			q.Name, q.Password = rootUser, rootPassword
		case g.chance(30):
			q.Password = "wrong"
		}
		g.send("Auth.Authenticate", q)
	case 2:
		if !g.w.authOn {
			g.send("Auth.AuthEnable", &pb.AuthEnableRequest{}) // no root yet
		}
	default:
		if g.w.authOn {
			g.r.do(request{rpc: "Auth.AuthDisable", as: pick(g, []identityRef{nobody, forged}), msgs: []proto.Message{&pb.AuthDisableRequest{}}})
		} else {
			g.send("Auth.AuthDisable", &pb.AuthDisableRequest{})
		}
	}
}
