package signed

import (
	"testing"

	"golang.org/x/mod/sumdb/note"
)

func signText(t *testing.T, k Key, text string) []byte {
	t.Helper()
	signed, err := note.Sign(&note.Note{Text: text}, k.signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}
