package difftest_test

import (
	"testing"

	"github.com/etcdguard/etcdguard/internal/difftest"
	"github.com/etcdguard/etcdguard/internal/difftest/stock"
)

// Two stock etcds must not differ in anything: what they do differ in is the
// harness's own mistake, and would be taken for the guard's.
func TestStockEqualsStock(t *testing.T) {
	difftest.Run(t,
		difftest.Target{Name: "stock", Address: stock.Start(t, stock.Config{})},
		difftest.Target{Name: "other stock", Address: stock.Start(t, stock.Config{})},
		difftest.Options{MaxRequestBytes: stock.MaxRequestBytes, MaxTxnOps: stock.MaxTxnOps})
}
