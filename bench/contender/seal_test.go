package contender

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestWhatAMemberSaysOfResealingIsRead(t *testing.T) {
	const begin = `{"line":"looking at what is not sealed"}` + "\n" + `{"seen":128}` + "\n" + `{"cost":{"values":3,"rewrites":3}}` + "\n{}\n" +
		`{"progress":{"seen":2,"rewritten":1}}` + "\n" + `{"progress":{"seen":3,"rewritten":2}}` + "\n"
	var told []int64
	done, err := readEvents(strings.NewReader(begin+`{"result":{"seen":3,"rewritten":3}}`+"\n"), func(n int64) { told = append(told, n) })
	if err != nil || done != 3 || !slices.Equal(told, []int64{1, 2}) {
		t.Errorf("%d done, told of %v (%v)", done, told, err)
	}
	if _, err := readEvents(strings.NewReader(begin), func(int64) {}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an answer without an end: %v", err)
	}
	_, err = readEvents(strings.NewReader(begin+`{"error":{"error":"it is full","hint":"compact"}}`+"\n"), nil)
	if err == nil || err.Error() != "it is full (compact)" {
		t.Errorf("an error of the member's: %v", err)
	}
	if _, err := readEvents(strings.NewReader("<html>\n"), nil); err == nil {
		t.Error("a line that is none was read")
	}
}
