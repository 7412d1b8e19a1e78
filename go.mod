module github.com/etcdguard/etcdguard

go 1.26.0

