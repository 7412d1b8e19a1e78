package difftest

import (
	"crypto/tls"
	"flag"
	"fmt"
	"math"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Target is one etcd.
type Target struct {
	// Name is what reports call it: "stock", "member".
	Name string
	// Address is dialled by grpc.NewClient; unused when Conn is set.
	Address string
	// TLS is the client's configuration; nil is plaintext.
	TLS *tls.Config
	// Conn is a connection that the caller made, and closes.
	Conn *grpc.ClientConn
}

// Options says how long to compare and what the two sides may differ in.
type Options struct {
	// Steps is how many requests to send; default -difftest.steps.
	Steps int
	// Seed is the first epoch's seed; default -difftest.seed. Epoch n of a run is
	// epoch 0 of a run with seed+n, so a difference is replayed alone.
	Seed uint64

	// MaxRequestBytes and MaxTxnOps are the limits that both sides run with.
	// Small ones are reached more often; see stock.Tune.
	MaxRequestBytes int
	MaxTxnOps       int

	// OwnWrites is how many revisions B may write for itself during the run.
	OwnWrites int64
	// Sealed says that B stores other bytes than A (values sealed, and so longer):
	// hashes of stored bytes and the sizes of stream chunks are not compared.
	Sealed bool
	// Coverage fails the run when the generator left out a request field, a
	// oneof, an enum value or an outcome. Default: from 20,000 steps on.
	Coverage bool

	// afterStep lets this package's own tests disturb a side between two steps.
	afterStep func(step int)
	// forgive lets them hide events that their disturbance made.
	forgive func(key []byte) bool
}

// The flags exist so that one command replays what a report names. A package
// holds no flags (STYLE), but `go test` has no other way in.
var (
	flagSteps = flag.Int("difftest.steps", 3000, "requests that a differential run sends to both sides")
	flagSeed  = flag.Uint64("difftest.seed", 0, "seed of the first epoch of a differential run; 0 picks one by the clock")
)

const (
	epochSteps    = 500
	coverageSteps = 20_000
	// patience bounds every wait for something that etcd owes. It is far above
	// any latency, so that only an answer which never comes runs into it.
	patience = 30 * time.Second
)

func (o Options) withDefaults() Options {
	if o.Steps == 0 {
		o.Steps = *flagSteps
	}
	if o.Seed == 0 {
		o.Seed = *flagSeed
	}
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixNano()) % 1_000_000_000
	}
	if o.MaxRequestBytes == 0 {
		o.MaxRequestBytes = 1.5 * 1024 * 1024
	}
	if o.MaxTxnOps == 0 {
		o.MaxTxnOps = 128
	}
	o.Coverage = o.Coverage || o.Steps >= coverageSteps
	return o
}

// side tells the two targets apart: A is right by definition, B is judged.
type side int

const (
	sideA side = iota
	sideB
)

var bothSides = [2]side{sideA, sideB}

// dial connects to a target. There is no retry, no interceptor and no limit of
// the client's own between the test and the server.
func dial(t testing.TB, target Target) *grpc.ClientConn {
	t.Helper()
	if target.Conn != nil {
		return target.Conn
	}
	creds := insecure.NewCredentials()
	if target.TLS != nil {
		creds = credentials.NewTLS(target.TLS)
	}
	conn, err := grpc.NewClient(target.Address,
		grpc.WithTransportCredentials(creds),
		grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(math.MaxInt32),
			grpc.MaxCallSendMsgSize(math.MaxInt32)))
	if err != nil {
		t.Fatal(fmt.Errorf("dialling %s at %q: %w", target.Name, target.Address, err))
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
