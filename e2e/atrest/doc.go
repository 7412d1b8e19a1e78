// Package atrest has `etcdguard atrest` read what etcd 3.4 to 3.7, as their authors
// release them, leave on the disk.
package atrest
