package search

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// column is one number for each event of a segment, in as many bytes as the widest
// takes once the smallest was taken off.
type column struct {
	base  int64
	width int
	mask  uint64
	data  []byte // ends with columnPad bytes more
}

// columnPad lets a number of any width be read as eight bytes.
const columnPad = 8

func (c *column) at(i int) int64 {
	return c.base + int64(binary.LittleEndian.Uint64(c.data[i*c.width:])&c.mask)
}

func newColumn(base int64, width int, data []byte) column {
	return column{base, width, 1<<(8*width) - 1, data}
}

// packColumn is the column of these values.
func packColumn(values []int64) column {
	if len(values) == 0 {
		return newColumn(0, 0, make([]byte, columnPad))
	}
	base := slices.Min(values)
	width := (bits.Len64(uint64(slices.Max(values)-base)) + 7) / 8
	data := make([]byte, len(values)*width+columnPad)
	for i, v := range values {
		// Eight bytes at a time: those that are too many are zero, or the next's.
		binary.LittleEndian.PutUint64(data[i*width:], uint64(v-base))
	}
	return newColumn(base, width, data)
}
