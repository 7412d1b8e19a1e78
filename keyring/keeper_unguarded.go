package keyring

type unguardedWatch struct{}
