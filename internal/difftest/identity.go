package difftest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// identity is what an etcd calls itself.
type identity struct {
	cluster, member uint64
	authRev         uint64            // when the run began
	urls            map[string]string // own address → what stands for it
}

// names holds what the two sides call the same thing. Requests are made in A's
// terms and translated for B; answers of both are brought into one form in which
// they must be equal.
type names struct {
	a, b    identity
	revs    revisions
	leases  map[int64]int64   // B's → A's, for leases whose ID the server chose
	members map[uint64]uint64 // B's → A's, for members added by the run
	// hashes says that the stored bytes are the same since revision hashesFrom, so
	// that hashes over no more than those must be.
	hashes     bool
	hashesFrom int64
}

func newNames() *names {
	return &names{leases: map[int64]int64{}, members: map[uint64]uint64{}}
}

// Stand-ins for an etcd's own name in normalised answers: no random ID is this small.
const (
	selfCluster = 0xc105
	selfMember  = 0x5e1f
)

// forB returns the request that means to B what req means to A.
func (n *names) forB(req proto.Message) proto.Message {
	out := proto.Clone(req)
	walk(out.ProtoReflect(), func(m protoreflect.Message, f protoreflect.FieldDescriptor, r rule) {
		switch r {
		case revision:
			m.Set(f, protoreflect.ValueOfInt64(n.revs.toB(m.Get(f).Int())))
		case leaseID:
			m.Set(f, protoreflect.ValueOfInt64(swapped(n.leases, m.Get(f).Int())))
		case memberID:
			id := swapped(n.members, m.Get(f).Uint())
			if id == n.a.member {
				id = n.b.member
			}
			m.Set(f, protoreflect.ValueOfUint64(id))
		case urls:
			list := m.Mutable(f).List()
			for i := range list.Len() {
				if own, ok := n.a.urls[list.Get(i).String()]; ok {
					list.Set(i, protoreflect.ValueOfString(keyOf(n.b.urls, own)))
				}
			}
		}
	})
	return out
}

// swapped looks v up by value; an unmapped v is its own translation.
func swapped[T comparable](m map[T]T, v T) T {
	for b, a := range m {
		if a == v {
			return b
		}
	}
	return v
}

func keyOf(m map[string]string, v string) string {
	for k, have := range m {
		if have == v {
			return k
		}
	}
	return v
}

// normalise rewrites an answer of one side into the common form.
func (n *names) normalise(s side, m proto.Message) {
	self := &n.a
	if s == sideB {
		self = &n.b
	}
	walk(m.ProtoReflect(), func(m protoreflect.Message, f protoreflect.FieldDescriptor, r rule) {
		switch r {
		case revision, headerRev:
			v := m.Get(f).Int()
			if s == sideB {
				a, exact := n.revs.toA(v)
				if !exact && r == revision {
					a = -v // a revision of B's own in an answer equals nothing of A's
				}
				v = a
			}
			m.Set(f, protoreflect.ValueOfInt64(v))
		case leaseID:
			v := m.Get(f).Int()
			if a, ok := n.leases[v]; ok && s == sideB {
				v = a
			}
			m.Set(f, protoreflect.ValueOfInt64(v))
		case memberID:
			v := m.Get(f).Uint()
			if a, ok := n.members[v]; ok && s == sideB {
				v = a
			}
			if v == self.member {
				v = selfMember
			}
			m.Set(f, protoreflect.ValueOfUint64(v))
		case clusterID:
			if m.Get(f).Uint() == self.cluster {
				m.Set(f, protoreflect.ValueOfUint64(selfCluster))
			}
		case authRev:
			m.Set(f, protoreflect.ValueOfUint64(m.Get(f).Uint()-self.authRev))
		case urls:
			list := m.Mutable(f).List()
			for i := range list.Len() {
				if own, ok := self.urls[list.Get(i).String()]; ok {
					list.Set(i, protoreflect.ValueOfString(own))
				}
			}
		case present:
			m.Set(f, standIn(f))
		case ignored:
			m.Clear(f)
		case hash:
			since := m.Get(f.ContainingMessage().Fields().ByName("compact_revision")).Int()
			if !n.hashes || since < n.hashesFrom {
				m.Set(f, standIn(f))
			}
		case alarms:
			list := m.Mutable(f).List()
			for i := range list.Len() {
				// prototext puts random spaces between fields, on purpose.
				text := strings.Join(strings.Fields(list.Get(i).String()), " ")
				text = strings.ReplaceAll(text, fmt.Sprint(self.member), "self")
				list.Set(i, protoreflect.ValueOfString(text))
			}
			sortList(list, func(v protoreflect.Value) string { return v.String() })
		}
	})
	unorderLists(m)
}

func standIn(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("set")
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(1)
	default:
		return protoreflect.ValueOfUint64(1)
	}
}

// unorderLists sorts the lists whose order etcd takes from a Go map or from the
// clock, after their elements have their common form.
func unorderLists(m proto.Message) {
	switch m := m.(type) {
	case *pb.LeaseTimeToLiveResponse:
		slices.SortFunc(m.Keys, func(a, b []byte) int { return cmp.Compare(string(a), string(b)) })
	case *pb.LeaseLeasesResponse:
		slices.SortFunc(m.Leases, func(a, b *pb.LeaseStatus) int { return cmp.Compare(a.ID, b.ID) })
	case *pb.AlarmResponse:
		slices.SortFunc(m.Alarms, func(a, b *pb.AlarmMember) int {
			return cmp.Or(cmp.Compare(a.MemberID, b.MemberID), cmp.Compare(a.Alarm, b.Alarm))
		})
	case interface{ GetMembers() []*pb.Member }:
		slices.SortFunc(m.GetMembers(), func(a, b *pb.Member) int { return cmp.Compare(a.ID, b.ID) })
	}
}

func sortList(l protoreflect.List, key func(protoreflect.Value) string) {
	vs := make([]protoreflect.Value, l.Len())
	for i := range vs {
		vs[i] = l.Get(i)
	}
	slices.SortFunc(vs, func(a, b protoreflect.Value) int { return cmp.Compare(key(a), key(b)) })
	for i, v := range vs {
		l.Set(i, v)
	}
}

// walk calls f for each set field with a rule, depth first.
func walk(m protoreflect.Message, f func(protoreflect.Message, protoreflect.FieldDescriptor, rule)) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.Kind() == protoreflect.MessageKind && !fd.IsMap() {
			if fd.IsList() {
				for i := range v.List().Len() {
					walk(v.List().Get(i).Message(), f)
				}
			} else {
				walk(v.Message(), f)
			}
		}
		if r := rules[fd.FullName()]; r != plain {
			f(m, fd, r)
		}
		return true
	})
}
