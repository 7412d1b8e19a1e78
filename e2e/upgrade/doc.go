// Package upgrade is tests alone: data that real etcd 3.5 and 3.6 wrote, under the
// member.
package upgrade
