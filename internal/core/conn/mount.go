package conn

import (
	"math"

	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// A listener's mount point stands in front of every topic and filter that its clients send. What they are sent has it taken
// off where the frame is made (session.Link). Everything between knows the whole topics only, access control included.

// mountTopic puts the mount point in front of a PUBLISH's topic.
func (c *Conn) mountTopic(sc *scratch, p *mqtt.Publish) error {
	if len(c.sh.MountPoint)+len(p.Topic) > math.MaxUint16 {
		return &mqtt.Error{Code: mqtt.TopicNameInvalid, Packet: mqtt.PUBLISH, Detail: "the topic is too long for this listener, which adds to it"}
	}
	sc.topic = append(append(sc.topic[:0], c.sh.MountPoint...), p.Topic...)
	p.Topic = sc.topic
	return nil
}

// mounted puts the mount point in front of a filter; in a shared subscription that stands behind the group.
func (c *Conn) mounted(filter string) string {
	mount := c.sh.MountPoint
	if mount == "" {
		return filter
	}
	if _, rest, shared := topic.ParseShare(filter); shared {
		return filter[:len(filter)-len(rest)] + mount + rest
	}
	return mount + filter
}
