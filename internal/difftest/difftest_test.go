package difftest_test

import (
	"testing"

	"github.com/etcdguard/etcdguard/internal/difftest"
	"github.com/etcdguard/etcdguard/internal/difftest/stock"
)

var limits = difftest.Options{MaxRequestBytes: stock.MaxRequestBytes, MaxTxnOps: stock.MaxTxnOps}

func twoStocks(t *testing.T) (a, b difftest.Target) {
	return difftest.Target{Name: "stock", Address: stock.Start(t, stock.Config{})},
		difftest.Target{Name: "other stock", Address: stock.Start(t, stock.Config{})}
}

// Two stock etcds must not differ in anything: what they do differ in is the
// harness's own mistake, and would be taken for the guard's.
func TestStockEqualsStock(t *testing.T) {
	a, b := twoStocks(t)
	difftest.Run(t, a, b, limits)
}

func TestKeptSeedsFindNothing(t *testing.T) {
	difftest.RunKept(t, limits, twoStocks)
}
