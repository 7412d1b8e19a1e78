// Package identities holds a table of what etcd is attacked with against everybody
// who might try: each technique is tried by each identity on each member of a real
// cluster, and is refused unless that identity is there for it. What is refused must
// also leave no trace in the cluster; what is allowed is done, as the control that
// the refusals are not those of a cluster that refuses everything.
//
// It holds tests only.
package identities
