// Package mosquittodb reads the file in which Mosquitto keeps its state between runs, mosquitto.db, in the formats of
// Mosquitto 1.6 (version 5) and of 2.0 and later (version 6), and carries what is in it over into a store.
//
// The file is a header (15 bytes of magic, a checksum that is always 0, the version) and a sequence of chunks, each with
// its kind and length in front. Kinds, lengths and packet ids are big-endian; message ids and times lie as the machine had
// them, which is little-endian everywhere but on a few old ones. Structures are padded as the C compiler padded them:
// where 64-bit numbers are aligned to 4 bytes (32-bit x86) two of them are shorter, which the first chunk's length tells.
//
// Messages come first, then each client with what is in flight to it and queued, then the subscriptions, then the
// retained messages; the last three name a message by its id.
package mosquittodb
