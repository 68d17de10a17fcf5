package mqtt

// The limits of the wire and of this package, each with what it stops.
const (
	// MaxRemainingLength is the largest length that a fixed header can hold:
	// four bytes of seven bits (MQTT 5 §2.1.4).
	MaxRemainingLength = 268_435_455

	// MaxStringLength is the largest length of a string or of binary data, whose
	// prefix has two bytes (MQTT 5 §1.5.4 and §1.5.6).
	MaxStringLength = 65_535

	// maxKept is how many entries of room a reused packet keeps in its slices of
	// user properties, subscription identifiers, subscriptions, filters and
	// codes. A packet of two megabytes can hold 400,000 empty user properties,
	// 19 MB of slice headers: without the limit, one such packet would make the
	// struct that it was decoded into (one per event loop) that large for good.
	maxKept = 256
)

// recycled returns s emptied, or nil when it has grown beyond maxKept.
func recycled[T any](s []T) []T {
	if cap(s) > maxKept {
		return nil
	}
	return s[:0]
}
