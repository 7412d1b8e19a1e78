package cli

import (
	"errors"
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"

	"github.com/etcdguard/etcdguard/internal/strictyaml"
	"github.com/etcdguard/etcdguard/kms"
)

// sealingConfig is the part of a guard's configuration that is about the ring.
type sealingConfig struct {
	Providers []kms.Config `yaml:"providers,required"`
	Mirror    string       `yaml:"mirror"`
}

func readSealing(file string) (*sealingConfig, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the guard configuration: %w", err)
	}
	var whole struct {
		Sealing yaml.Node `yaml:"sealing"`
	}
	if err := yaml.Unmarshal(data, &whole); err != nil {
		return nil, fmt.Errorf("reading the guard configuration %s: %w", file, err)
	}
	if whole.Sealing.IsZero() {
		return nil, fmt.Errorf("reading the guard configuration %s: %w", file, errors.New("it has no key providers, under sealing.providers"))
	}
	part, err := yaml.Marshal(&whole.Sealing)
	if err != nil {
		return nil, err
	}
	c := &sealingConfig{}
	_, err = strictyaml.Decode(file, part, c)
	return c, err
}
