package kmstest_test

import (
	"testing"

	"github.com/etcdguard/etcdguard/kms"
	"github.com/etcdguard/etcdguard/kms/kmstest"
)

// What stands in for a provider in other tests passes for one.
func TestMemory(t *testing.T) {
	kmstest.Conformance(t, kmstest.Setup{
		New:    func(*testing.T) kms.Provider { return kmstest.New("memory") },
		Reopen: func(_ *testing.T, p kms.Provider) kms.Provider { return p },
	})
}
