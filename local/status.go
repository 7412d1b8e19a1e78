package local

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/control"
	"github.com/etcdguard/etcdguard/pki"
)

// State is how a member is.
type State string

const (
	Healthy   State = "healthy"   // answered a linearizable read
	Unhealthy State = "unhealthy" // its process runs, but it did not
	Down      State = "down"      // no process
)

// MemberStatus is one row of status; the JSON names are stable.
type MemberStatus struct {
	Name       string `json:"name"`
	State      State  `json:"state"`
	Pid        int    `json:"pid"` // 0: none
	ClientURL  string `json:"clientURL"`
	PeerURL    string `json:"peerURL"`
	MetricsURL string `json:"metricsURL"`

	// Valid when it answered.
	Version     string `json:"version,omitempty"`
	Leader      bool   `json:"leader"`
	Learner     bool   `json:"learner"` // half rebuilt
	DBSizeBytes int64  `json:"dbSizeBytes"`
	Revision    int64  `json:"revision"`

	SealPhase      string `json:"sealPhase,omitempty"`      // in force there: off, can-open, sealing, strict
	RingGeneration uint64 `json:"ringGeneration,omitempty"` // in force there; 0: there is no ring

	CertificateDaysLeft int    `json:"certificateDaysLeft"` // of the server or the peer certificate, whichever ends first
	Problem             string `json:"problem,omitempty"`
}

// Status is the state of a cluster; the JSON names are stable.
type Status struct {
	Dir     string         `json:"dir"`
	Healthy bool           `json:"healthy"` // every member is
	Members []MemberStatus `json:"members"`
}

// sick says what is wrong with each member that is not healthy, apart from some.
func (s Status) sick(except ...string) []string {
	var out []string
	for _, m := range s.Members {
		if m.State != Healthy && !slices.Contains(except, m.Name) {
			out = append(out, m.Name+": "+m.Problem)
		}
	}
	return out
}

// askFor bounds one member's answer; a member without quorum does not give one.
const askFor = 3 * time.Second

// Status asks every member at the same time, as admin.
func (c *Cluster) Status(ctx context.Context) (Status, error) {
	admin, err := c.loadClient("admin")
	if err != nil {
		return Status{}, withHint("etcdguard up"+c.dirFlag()+" issues it again", "asking for the status: %w", err)
	}
	out := Status{Dir: c.dir, Healthy: true, Members: make([]MemberStatus, len(c.places))}
	var wait sync.WaitGroup
	for i, p := range c.places {
		wait.Go(func() { out.Members[i] = c.memberStatus(ctx, admin, p) })
	}
	wait.Wait()
	for _, m := range out.Members {
		out.Healthy = out.Healthy && m.State == Healthy
	}
	return out, nil
}

func (c *Cluster) memberStatus(ctx context.Context, admin *pki.Leaf, p placement) MemberStatus {
	m := MemberStatus{
		Name: p.name, State: Down,
		ClientURL: "https://" + p.client.String(), PeerURL: "https://" + p.peer.String(), MetricsURL: "http://" + p.metrics.String(),
	}
	var err error
	if m.CertificateDaysLeft, err = c.daysLeft(p.name); err != nil {
		m.Problem = err.Error()
	}
	proc, err := c.process(p.name)
	if err != nil {
		m.Problem = err.Error()
		return m
	}
	if !proc.running {
		m.Problem = "not running; etcdguard up starts it"
		return m
	}
	m.State, m.Pid = Unhealthy, proc.pid
	if err := c.ask(ctx, admin, p.client, &m); err != nil {
		m.Problem = err.Error()
		return m
	}
	if err := c.askSealing(ctx, &m); err != nil {
		m.Problem = err.Error()
		return m
	}
	m.State = Healthy
	return m
}

// askSealing fills in what is in force. A member that refuses writes for it is not
// healthy.
func (c *Cluster) askSealing(ctx context.Context, m *MemberStatus) error {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	admin, err := control.NewClient(control.ClientConfig{Endpoints: []string{m.ClientURL},
		CACert: c.clientsCA(), Cert: c.client("admin") + ".crt", Key: c.client("admin") + ".key"})
	if err != nil {
		return fmt.Errorf("asking for its sealing: %w", err)
	}
	s, err := admin.Status(ctx)
	if err != nil {
		return fmt.Errorf("asking for its sealing: %w", err)
	}
	m.SealPhase, m.RingGeneration = s.Phase.String(), s.InForce
	if s.Refusal != "" {
		return errors.New(s.Refusal)
	}
	return nil
}

// ask fills in what the member says of itself, and has it answer a read that it
// can only answer together with a majority.
func (c *Cluster) ask(ctx context.Context, admin *pki.Leaf, at netip.AddrPort, m *MemberStatus) error {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	conn, err := c.connectAs(admin, at)
	if err != nil {
		return err
	}
	defer conn.Close()
	s, err := pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return describe("asking for its status", err)
	}
	m.Version, m.DBSizeBytes, m.Revision = s.Version, s.DbSize, s.Header.GetRevision()
	m.Leader = s.Leader != 0 && s.Leader == s.Header.GetMemberId()
	if m.Learner = s.IsLearner; m.Learner {
		return errors.New("it is a learner, half rebuilt; " + goOn + c.dirFlag() + " goes on")
	}
	if err := readKey(ctx, conn); err != nil {
		return describe("reading a key", err)
	}
	if len(s.Errors) > 0 {
		return errors.New("it reports: " + strings.Join(s.Errors, "; "))
	}
	return nil
}

// describe drops gRPC's wrapping, which says the same thing three times.
func describe(doing string, err error) error {
	s := status.Convert(err)
	return fmt.Errorf("%s: %s (%s)", doing, s.Message(), s.Code())
}

func (c *Cluster) daysLeft(member string) (int, error) {
	var end time.Time
	for _, file := range []string{"server.crt", "peer.crt"} {
		cert, err := pki.LoadCertificate(c.member(member, file))
		if err != nil {
			return 0, err
		}
		if end.IsZero() || cert.NotAfter.Before(end) {
			end = cert.NotAfter
		}
	}
	return int(time.Until(end).Hours() / 24), nil
}
