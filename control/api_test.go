package control

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
)

// Off is the zero Phase. A request that forgets to name one must not end sealing.
func TestAPhaseThatIsNotSaidIsNotOff(t *testing.T) {
	w := newWorld(t, keyring.Strict, true)
	for _, body := range []string{`{}`, `{"to":null}`, `null`, ` null `} {
		r := httptest.NewRequest("POST", etcdapi.AdminPath(etcdapi.SealPhase), strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		answer := httptest.NewRecorder()
		w.h.ServeHTTP(answer, r)
		if answer.Code != http.StatusBadRequest || w.keeper.status.Phase != keyring.Strict {
			t.Errorf("%s: %d, %s", body, answer.Code, answer.Body)
		}
	}
}
