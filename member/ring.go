package member

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/storage/mvcc"

	"github.com/etcdguard/etcdguard/keyring"
)

// store is this member's etcd without the guard: what etcdguard itself asks, with
// etcd's own root credential. It implements keyring.Store and control.Etcd.
type store struct{ server }

func (s store) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	return s.server.Range(s.AuthStore().WithRoot(ctx), r)
}

func (s store) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	return s.server.Txn(s.AuthStore().WithRoot(ctx), r)
}

func (s store) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	return s.server.LeaseGrant(s.AuthStore().WithRoot(ctx), r)
}

func (s store) LeaseRenew(ctx context.Context, id int64) (int64, error) {
	return s.server.LeaseRenew(s.AuthStore().WithRoot(ctx), lease.LeaseID(id))
}

// Watch implements keyring.Store: who is told that something changed looks itself, so
// that no event can be missed, compacted away or misread.
func (s store) Watch(ctx context.Context, key, end []byte) (<-chan struct{}, error) {
	stream := s.KV().NewWatchStream()
	if _, err := stream.Watch(ctx, 0, key, end, 0); err != nil {
		stream.Close()
		return nil, fmt.Errorf("watching etcdguard's own keys: %w", err)
	}
	changed := make(chan struct{}, 1)
	go func() {
		defer close(changed)
		end := sync.OnceFunc(stream.Close)
		defer end()
		defer context.AfterFunc(ctx, end)()
		for r := range stream.Chan() {
			mvcc.ReportEventReceived(len(r.Events))
			select {
			case changed <- struct{}{}:
			default:
			}
			if r.CompactRevision != 0 {
				return // etcd has ended it
			}
		}
	}()
	return changed, nil
}

// Members implements keyring.Store.
func (s store) Members() []keyring.MemberInfo {
	var all []keyring.MemberInfo
	for _, m := range s.Cluster().Members() {
		all = append(all, keyring.MemberInfo{ID: uint64(m.ID), Name: m.Name, Learner: m.IsLearner, PeerURLs: m.PeerURLs})
	}
	return all
}

// MemberID implements keyring.Store.
func (s store) MemberID() uint64 { return uint64(s.server.MemberID()) }

// RequestTimeout implements keyring.Store.
func (s store) RequestTimeout() time.Duration { return s.Cfg.ReqTimeout() }

// newKeeper makes what keeps this member's ring. A member that is not configured for
// sealing has one, too: it notices that the data is sealed.
func (m *Member) newKeeper() (*keyring.Keeper, error) {
	probe, err := peerProbe(m.config.Etcd)
	if err != nil {
		return nil, fmt.Errorf("preparing to look at other members: %w", err)
	}
	return keyring.NewKeeper(keyring.KeeperConfig{
		Store:     store{server{m.etcd.Server}},
		Providers: m.providers,
		Mirror:    mirrorFile(m.config),
		Version:   version.Version,
		Log:       m.log,
		Registry:  m.config.Registry,
		PeerProbe: probe,
	})
}

// mirrorFile is where the wrapped ring is kept on this member's disk.
func mirrorFile(c Config) string {
	if s := c.Guard.Sealing; s != nil && s.Mirror != "" {
		return s.Mirror
	}
	return filepath.Join(c.Etcd.Dir, "etcdguard-ring.json")
}

// peerProbe asks a member on its peer port, as a peer, what version it is: every etcd
// answers that as soon as it runs.
func peerProbe(c *embed.Config) (func(context.Context, keyring.MemberInfo) (bool, error), error) {
	const dialFor = time.Second
	t, err := transport.NewTransport(c.PeerTLSInfo, dialFor)
	if err != nil {
		return nil, err
	}
	t.DisableKeepAlives = true // one look every few seconds, at members that should not be there
	client := &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return func(ctx context.Context, other keyring.MemberInfo) (bool, error) {
		var failures []error
		for _, url := range other.PeerURLs {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/version", nil)
			if err != nil {
				failures = append(failures, err)
				continue
			}
			answer, err := client.Do(r)
			if err != nil {
				failures = append(failures, err)
				continue
			}
			_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 4<<10))
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return true, nil
			}
		}
		return false, errors.Join(failures...)
	}, nil
}

// openFor is how long a member that starts waits for its ring before it says on its
// client port that it does. As a rule the ring is open within milliseconds.
const openFor = 3 * time.Second

// awaitRing returns when the ring is open, or known not to be there. When that takes
// long the client port is served meanwhile, and says why to who asks.
func (m *Member) awaitRing(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, openFor)
	defer cancel()
	if m.keeper.WaitOpen(soon) == nil {
		return nil
	}
	if ctx.Err() == nil {
		m.log.Warn("the client port stays shut until the ring is open", slog.String("reason", m.whyShut()))
		m.guard.Shut(m.whyShut)
		defer m.guard.Shut(nil)
		m.serve()
	}
	tick := time.NewTicker(systemdWaits / 3)
	defer tick.Stop()
	for {
		// Not ready, and not at fault either: systemd is to wait on.
		_, _ = daemon.SdNotify(false, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d\nSTATUS=%s", systemdWaits.Microseconds(), strings.ReplaceAll(m.whyShut(), "\n", "; ")))
		select {
		case <-m.keeper.Ready():
			_, _ = daemon.SdNotify(false, "STATUS=serving")
			return nil
		case <-m.etcd.Server.StopNotify():
			return errors.New("etcd stopped before the ring was open; its log says why")
		case err := <-m.etcd.Err():
			return fmt.Errorf("etcd: %w", err)
		case err := <-m.door.failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), m.whyShut())
		case <-tick.C:
		}
	}
}

// systemdWaits is by how much a start that waits for keys asks systemd for more time.
const systemdWaits = time.Minute

func (m *Member) whyShut() string {
	if why := m.keeper.Waiting(); why != nil {
		return "this member's ring is not open: " + why.Error()
	}
	return "this member's ring is not open yet"
}
