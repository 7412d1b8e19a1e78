package prove

import (
	"fmt"
	"net/url"
	"os"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/etcdguard/etcdguard/pki"
)

// fileConfig is what prove needs of etcd's configuration file.
type fileConfig struct {
	Name    string `json:"name"`
	DataDir string `json:"data-dir"`
	WALDir  string `json:"wal-dir"`
	Client  string `json:"listen-client-urls"`
	Peer    string `json:"listen-peer-urls"`
	Metrics string `json:"listen-metrics-urls"`

	ClientTLS fileTLS `json:"client-transport-security"`
	PeerTLS   fileTLS `json:"peer-transport-security"`
}

type fileTLS struct {
	Cert string `json:"cert-file"`
	Key  string `json:"key-file"`
	CA   string `json:"trusted-ca-file"`
}

// ReadNode describes the member of one etcd configuration file on this machine.
func ReadNode(file string) (Node, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return Node{}, fmt.Errorf("reading etcd's configuration: %w", err)
	}
	var c fileConfig
	if err := yaml.Unmarshal(data, &c); err != nil {
		return Node{}, fmt.Errorf("reading etcd's configuration %s: %w", file, err)
	}
	n := Node{
		Name: c.Name, ClientCA: c.ClientTLS.CA, PeerCA: c.PeerTLS.CA,
		Keys: []string{c.ClientTLS.Key, c.PeerTLS.Key},
	}
	for _, dir := range []string{c.DataDir, c.WALDir} {
		if dir != "" {
			n.Data = append(n.Data, dir)
		}
	}
	if n.Client, err = hostOf(c.Client, "https"); err != nil {
		return n, fmt.Errorf("%s: listen-client-urls: %w", file, err)
	}
	if n.Peer, err = hostOf(c.Peer, "https"); err != nil {
		return n, fmt.Errorf("%s: listen-peer-urls: %w", file, err)
	}
	if c.Metrics != "" {
		if n.Metrics, err = hostOf(c.Metrics, "http"); err != nil {
			return n, fmt.Errorf("%s: listen-metrics-urls: %w", file, err)
		}
	}
	if n.Server, err = pki.LoadLeaf(c.ClientTLS.Cert, c.ClientTLS.Key); err != nil {
		return n, fmt.Errorf("%s: client-transport-security: %w", file, err)
	}
	if n.PeerLeaf, err = pki.LoadLeaf(c.PeerTLS.Cert, c.PeerTLS.Key); err != nil {
		return n, fmt.Errorf("%s: peer-transport-security: %w", file, err)
	}
	return n, nil
}

// hostOf is the host:port of the first URL of a list that has the scheme.
func hostOf(list, scheme string) (string, error) {
	for _, s := range strings.Split(list, ",") {
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil {
			return "", err
		}
		if u.Scheme == scheme {
			return u.Host, nil
		}
	}
	return "", fmt.Errorf("%q has no %s URL", list, scheme)
}
