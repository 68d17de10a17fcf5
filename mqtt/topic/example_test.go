package topic_test

import (
	"fmt"

	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

func Example() {
	fmt.Println(topic.ValidName([]byte("kitchen/temperature")))
	fmt.Println(topic.ValidName([]byte("kitchen/+")))
	fmt.Println(topic.ValidFilter([]byte("$share/workers/kitchen/#")))

	group, filter, _ := topic.ParseShare("$share/workers/kitchen/#")
	fmt.Println(group, filter, topic.Match(filter, "kitchen/temperature"), topic.Match("#", "$SYS/broker/uptime"))
	// Output:
	// <nil>
	// contains a wildcard, which only filters may [MQTT-4.7.0-1]
	// <nil>
	// workers kitchen/# true false
}
