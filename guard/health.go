package guard

import (
	"sync"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
)

// healthAnswer makes the guard's readiness a condition of etcd's own health: a
// load balancer must not send a client to a door that is shut.
func (g *Guard) healthAnswer(answer any) any {
	if g.ready.Load() {
		return answer
	}
	switch a := answer.(type) {
	case *healthpb.HealthCheckResponse:
		return g.healthStatus(a)
	case *healthpb.HealthListResponse:
		all := proto.Clone(a).(*healthpb.HealthListResponse)
		for _, s := range all.Statuses {
			s.Status = healthpb.HealthCheckResponse_NOT_SERVING
		}
		return all
	}
	return answer
}

func (g *Guard) healthStatus(etcds *healthpb.HealthCheckResponse) *healthpb.HealthCheckResponse {
	if g.ready.Load() || etcds.Status != healthpb.HealthCheckResponse_SERVING {
		return etcds
	}
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING}
}

// healthStream is an open grpc.health.v1 Watch.
type healthStream struct {
	*stream
	mu    sync.Mutex // SendMsg is called by etcd and by the guard
	etcds *healthpb.HealthCheckResponse
	over  bool
}

// SendMsg passes on etcd's opinion under the guard's.
func (h *healthStream) SendMsg(m any) error {
	answer, ok := m.(*healthpb.HealthCheckResponse)
	if !ok {
		return h.ServerStream.SendMsg(m)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.etcds = answer
	return h.ServerStream.SendMsg(h.guard.healthStatus(answer))
}

// healthChanged does not wait: a client that does not read must not hold up those
// who ask for the change.
func (h *healthStream) healthChanged() {
	go func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.etcds == nil || h.over {
			return
		}
		if err := h.ServerStream.SendMsg(h.guard.healthStatus(h.etcds)); err != nil {
			h.end(err)
		}
	}()
}

func (h *healthStream) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
}
