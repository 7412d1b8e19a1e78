package member

import (
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// The presence of members hangs on leases with keys that no user of etcd's own may
// read; etcd would refuse every list of leases for them.
func TestNativeUsersListTheirLeasesBesideTheRings(t *testing.T) {
	w := newWorld(t).seals()
	w.start()
	c := w.client("admin")
	for _, user := range []string{"root", "admin"} { // admin is the name in the certificate
		_, err := c.UserAdd(withTimeout(t), user, "secret")
		check(t, err)
	}
	_, err := c.UserGrantRole(withTimeout(t), "root", "root")
	check(t, err)
	_, err = c.RoleAdd(withTimeout(t), "mine")
	check(t, err)
	_, err = c.RoleGrantPermission(withTimeout(t), "mine", "mine", "", clientv3.PermissionType(clientv3.PermReadWrite))
	check(t, err)
	_, err = c.UserGrantRole(withTimeout(t), "admin", "mine")
	check(t, err)
	mine, err := c.Grant(withTimeout(t), 600)
	check(t, err)
	_, err = c.Put(withTimeout(t), "mine", "x", clientv3.WithLease(mine.ID))
	check(t, err)
	_, err = c.AuthEnable(withTimeout(t))
	check(t, err)

	list, err := c.Leases(withTimeout(t))
	check(t, err)
	if len(list.Leases) != 1 || list.Leases[0].ID != mine.ID {
		t.Errorf("%+v", list)
	}

	root, err := clientv3.New(clientv3.Config{Endpoints: []string{"https://" + w.clientAddr}, TLS: w.tls("admin"), Username: "root", Password: "secret"})
	check(t, err)
	defer root.Close()
	other, err := root.Grant(withTimeout(t), 600)
	check(t, err)
	_, err = root.Put(withTimeout(t), "not mine", "x", clientv3.WithLease(other.ID))
	check(t, err)
	if _, err := c.Leases(withTimeout(t)); err != rpctypes.ErrPermissionDenied {
		t.Errorf("a list with a lease that holds what the user may not read: %v", err)
	}
}
