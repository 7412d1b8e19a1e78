package certs

import (
	"sync"
	"sync/atomic"
)

// Source holds the Generation in force and replaces it when the files change.
type Source struct {
	config  Config
	current atomic.Pointer[Generation]

	reloading sync.Mutex // one reload at a time
}

// NewSource loads the first Generation; without one there is no port to serve.
func NewSource(c Config) (*Source, error) {
	g, err := c.Load()
	if err != nil {
		return nil, err
	}
	s := &Source{config: c}
	s.current.Store(g)
	return s, nil
}

// Current is the Generation in force.
func (s *Source) Current() *Generation { return s.current.Load() }

// Reload puts the files' present contents in force. On error the old Generation
// stays.
func (s *Source) Reload() error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	g, err := s.config.Load()
	if err != nil {
		return err
	}
	s.current.Store(g)
	return nil
}

// Files are the files that a Generation is made of.
func (c Config) Files() []string {
	var files []string
	for _, f := range []string{c.CertFile, c.KeyFile, c.CAFile, c.CRLFile} {
		if f != "" {
			files = append(files, f)
		}
	}
	return files
}
