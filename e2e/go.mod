module github.com/etcdguard/etcdguard/e2e

go 1.26.8
