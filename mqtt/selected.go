package mqtt

// With returns the set with one more property.
func (s PropertySet) With(id PropertyID) PropertySet { return s | 1<<(id&63) }

// AppendSelected appends those properties of p that are in only, without a length in front: what of a message travels
// on to its receivers (MQTT 5 §3.3.2.3).
func (p *Properties) AppendSelected(dst []byte, only PropertySet) []byte {
	q := *p
	q.Has &= only
	if !only.Has(PropUser) {
		q.User = nil
	}
	if !only.Has(PropSubscriptionID) {
		q.SubscriptionIDs = nil
	}
	return q.AppendFields(dst)
}
