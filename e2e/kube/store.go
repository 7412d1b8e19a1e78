package kube

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

const (
	namespace  = "ledger"
	secrets    = "secrets"
	configMaps = "configmaps"
	// payloadKey is the one data key of every object here.
	payloadKey = "payload"
)

// store is the part of the Kubernetes API that the load uses, the same for Secrets
// and ConfigMaps.
type store struct{ client *kubernetes.Clientset }

// item is a Secret or a ConfigMap.
type item struct {
	name, version, payload string
	uid                    types.UID
}

func metadata(i item) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: i.name, ResourceVersion: i.version, UID: i.uid}
}

func secretOf(i item) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metadata(i), Data: map[string][]byte{payloadKey: []byte(i.payload)}}
}

func configMapOf(i item) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metadata(i), Data: map[string]string{payloadKey: i.payload}}
}

func itemOf(object any) (item, error) {
	switch o := object.(type) {
	case *corev1.Secret:
		return item{o.Name, o.ResourceVersion, string(o.Data[payloadKey]), o.UID}, nil
	case *corev1.ConfigMap:
		return item{o.Name, o.ResourceVersion, o.Data[payloadKey], o.UID}, nil
	}
	return item{}, fmt.Errorf("the server answered with a %T", object)
}

// result turns an answer into an item; a typed answer next to an error is empty.
func result[T any](object T, err error) (item, error) {
	if err != nil {
		return item{}, err
	}
	return itemOf(object)
}

func (s store) create(ctx context.Context, resource string, i item) (item, error) {
	if resource == secrets {
		return result(s.client.CoreV1().Secrets(namespace).Create(ctx, secretOf(i), metav1.CreateOptions{}))
	}
	return result(s.client.CoreV1().ConfigMaps(namespace).Create(ctx, configMapOf(i), metav1.CreateOptions{}))
}

func (s store) update(ctx context.Context, resource string, i item) (item, error) {
	if resource == secrets {
		return result(s.client.CoreV1().Secrets(namespace).Update(ctx, secretOf(i), metav1.UpdateOptions{}))
	}
	return result(s.client.CoreV1().ConfigMaps(namespace).Update(ctx, configMapOf(i), metav1.UpdateOptions{}))
}

// get reads from etcd and not from the server's cache (no resource version).
func (s store) get(ctx context.Context, resource, name string) (item, error) {
	if resource == secrets {
		return result(s.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{}))
	}
	return result(s.client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{}))
}

// delete deletes exactly the version that i is.
func (s store) delete(ctx context.Context, resource string, i item) error {
	exactly := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &i.uid, ResourceVersion: &i.version}}
	if resource == secrets {
		return s.client.CoreV1().Secrets(namespace).Delete(ctx, i.name, exactly)
	}
	return s.client.CoreV1().ConfigMaps(namespace).Delete(ctx, i.name, exactly)
}

// watch is ended by the server after a short while, so that taking a watch up again
// is part of every run.
func (s store) watch(ctx context.Context, resource, from string) (watch.Interface, error) {
	short := int64(20)
	options := metav1.ListOptions{ResourceVersion: from, AllowWatchBookmarks: true, TimeoutSeconds: &short}
	if resource == secrets {
		return s.client.CoreV1().Secrets(namespace).Watch(ctx, options)
	}
	return s.client.CoreV1().ConfigMaps(namespace).Watch(ctx, options)
}

// page is one page of a list, and how to go on.
func (s store) page(ctx context.Context, resource, next string, limit int64) (items []item, list metav1.ListMeta, err error) {
	options := metav1.ListOptions{Limit: limit, Continue: next}
	if resource == secrets {
		l, err := s.client.CoreV1().Secrets(namespace).List(ctx, options)
		if err != nil {
			return nil, metav1.ListMeta{}, err
		}
		for i := range l.Items {
			one, _ := itemOf(&l.Items[i])
			items = append(items, one)
		}
		return items, l.ListMeta, nil
	}
	l, err := s.client.CoreV1().ConfigMaps(namespace).List(ctx, options)
	if err != nil {
		return nil, metav1.ListMeta{}, err
	}
	for i := range l.Items {
		one, _ := itemOf(&l.Items[i])
		items = append(items, one)
	}
	return items, l.ListMeta, nil
}

// listed is everything of one resource at one version, read in pages.
type listed struct {
	version string
	items   map[string]item
	pages   int
}

// list reads page by page and holds the server to what it promises of them: one
// resource version for all, no object twice.
func (s store) list(ctx context.Context, resource string, limit int64) (listed, error) {
	all := listed{items: map[string]item{}}
	for next := ""; ; {
		items, list, err := s.page(ctx, resource, next, limit)
		if err != nil {
			return listed{}, err
		}
		all.pages++
		if all.version == "" {
			all.version = list.ResourceVersion
		}
		if list.ResourceVersion != all.version {
			return listed{}, fmt.Errorf("page %d of %s is of version %s, the first was of %s", all.pages, resource, list.ResourceVersion, all.version)
		}
		for _, i := range items {
			if _, twice := all.items[i.name]; twice {
				return listed{}, fmt.Errorf("%s %s is on two pages of one list", resource, i.name)
			}
			all.items[i.name] = i
		}
		if next = list.Continue; next == "" {
			return all, nil
		}
	}
}
