// Package search reads the record: who did what, found in the segments of one or
// several audit logs, counted, and followed while they are written.
//
// A closed segment is read once and summed up in an index beside it: a few columns of
// numbers for each event, and the names that they stand for. A query is answered from
// the columns; what it finds is then read from the segment itself and held against the
// query again. So an index that is wrong, or was made so, can hide events but not invent
// any. Reading for evidence is the business of audit/evidence, which knows no index;
// Config.NoIndex makes everything here read the segments instead.
//
// An intent and its outcome are one request, and one [Row]: who and what stand in the
// one, how it ended in the other. Queries are about rows.
package search
