package keyring

type presence struct{}
