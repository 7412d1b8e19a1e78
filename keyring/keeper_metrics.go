package keyring

import "github.com/prometheus/client_golang/prometheus"

type keeperMetrics struct{}

func newKeeperMetrics(prometheus.Registerer, *Keeper) (*keeperMetrics, error) {
	return &keeperMetrics{}, nil
}
