package conformance

func init() {
	register(Case{ID: "MQTT-3.12.4-1", Version: V311, Title: "PINGREQ is answered by PINGRESP", Run: func(t *T) {
		p := t.Client()
		for range 3 {
			p.Send(Ping)
			p.Expect(PINGRESP)
		}
	}})
}
