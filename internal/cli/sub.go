package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/mqtt"
	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// sub is the command that subscribes, in the manner of mosquitto_sub.
type sub struct {
	connection
	topics, filterOut, unsubscribe                      []string
	count, timeout                                      int
	exitAfterSub                                        bool
	noRetain, retainedOnly, removeRetained, asPublished bool
	retainHandling                                      string
	randomFilter                                        float64

	format             string
	verbose, noEOL     bool
	pretty             bool
	messageRate, watch bool
}

func subCommand() *cobra.Command {
	s := &sub{}
	cmd := &cobra.Command{
		Use:   "sub -t topic [-t topic ...]",
		Short: "subscribe and print messages",
		Long: "sub subscribes and prints what it receives, with the flags of mosquitto_sub.\n\n" +
			"-F prints each message in a format of its own, made of these sequences:\n" +
			"  %t topic  %p payload  %x %X payload in hexadecimal  %f %d payload as a float, a double  %l its length\n" +
			"  %q QoS  %r retain flag  %m packet id  %j all of it as JSON  %J the same, with a payload that is JSON\n" +
			"  %A topic alias  %C content type  %D correlation data  %E message expiry  %F payload format\n" +
			"  %P user properties  %R response topic  %S subscription identifier\n" +
			"  %I time in ISO 8601  %U Unix time  @X what strftime prints for %X  @N nanoseconds  %% @@ \\\\ themselves\n" +
			"  \\n \\t \\r \\a \\e \\v \\0 as in C\n" +
			"Between % and the letter: '-' for the left, '0' for zeros, the width, '.' and the largest width; for %x '.n:'\n" +
			"sets a ':' after every n digits.",
		Example:     "  nightjar sub -t 'house/#' -v\n  nightjar sub -t 'house/#' -F '%I %t %p'\n  nightjar sub -t house/temperature -C 1 -W 10",
		Args:        noArguments,
		Annotations: map[string]string{prepareKey: "mosquitto_sub"},
		RunE:        func(cmd *cobra.Command, _ []string) error { return s.run(cmd) },
	}
	fs := cmd.Flags()
	fs.StringArrayVarP(&s.topics, "topic", "t", nil, "topic `filter` to subscribe to; repeatable")
	fs.StringArrayVarP(&s.filterOut, "filter-out", "T", nil, "do not print topics that match `filter`; repeatable")
	fs.StringArrayVarP(&s.unsubscribe, "unsubscribe", "U", nil, "topic `filter` to unsubscribe from; repeatable")
	fs.IntVarP(&s.count, "count", "C", 0, "exit after `number` messages")
	fs.IntVarP(&s.timeout, "timeout", "W", 0, "exit after `seconds`, with status 27")
	fs.BoolVarP(&s.exitAfterSub, "exit-after-sub", "E", false, "exit when the broker has acknowledged the subscriptions")
	fs.StringVarP(&s.format, "format", "F", "", "print messages in this `format`")
	fs.BoolVarP(&s.verbose, "verbose", "v", false, "print the topic before the payload")
	fs.BoolVarP(&s.noEOL, "no-eol", "N", false, "print no end of line after a message")
	fs.BoolVar(&s.pretty, "pretty", false, "%j and %J over several lines")
	fs.BoolVarP(&s.noRetain, "no-retained", "R", false, "do not print stale messages: those with the retain flag")
	fs.BoolVar(&s.retainedOnly, "retained-only", false, "print only stale messages, and exit at the first fresh one")
	fs.BoolVar(&s.removeRetained, "remove-retained", false, "remove the retained messages received from the broker, except those that -T matches")
	fs.BoolVar(&s.asPublished, "retain-as-published", false, "leave the retain flag as the publisher set it. MQTT 5")
	fs.StringVar(&s.retainHandling, "retain-handling", "always", "`when` to get retained messages: always, new or never. MQTT 5")
	fs.Float64Var(&s.randomFilter, "random-filter", 100, "print only this `percentage` of the messages, chosen by chance")
	fs.BoolVar(&s.messageRate, "message-rate", false, "print the number of messages in each second instead of the messages")
	fs.BoolVarP(&s.watch, "watch", "w", false, "keep a line of the terminal for each topic")
	s.flags(cmd)
	return cmd
}

// check holds what sub's own flags must say.
func (s *sub) check(cmd *cobra.Command) error {
	if s.urlTopic != "" {
		s.topics = append(s.topics, s.urlTopic)
	}
	for _, list := range []struct {
		what    string
		filters []string
	}{{"subscription", s.topics}, {"filter", s.filterOut}, {"unsubscribe", s.unsubscribe}} {
		for _, f := range list.filters {
			if topic.ValidFilter([]byte(f)) != nil {
				return fmt.Errorf("Invalid %s topic '%s', are all '+' and '#' wildcards correct?", list.what, f)
			}
		}
	}
	fs := cmd.Flags()
	v5only := given(fs, "retain-handling") || s.asPublished
	switch {
	case len(s.topics) == 0 && len(s.unsubscribe) == 0:
		return errors.New("You must specify a topic to subscribe to (-t) or unsubscribe from (-U).")
	case given(fs, "count") && s.count < 1:
		return fmt.Errorf("Invalid message count \"%d\".", s.count)
	case given(fs, "timeout") && s.timeout < 1:
		return fmt.Errorf("Invalid timeout \"%d\".", s.timeout)
	case s.randomFilter < 0.1 || s.randomFilter > 100:
		return errors.New("--random-filter chance must be between 0.1-100.0")
	case s.noRetain && s.retainedOnly:
		return errors.New("Combining '-R' and '--retained-only' makes no sense.")
	case s.retainHandling != "always" && s.retainHandling != "new" && s.retainHandling != "never":
		return fmt.Errorf("Unknown value '%s' for --retain-handling: use always, new or never.", s.retainHandling)
	case v5only && s.version != mqtt.V5:
		return errors.New("--retain-as-published and --retain-handling need MQTT 5: add -V 5")
	}
	return nil
}

func (s *sub) run(cmd *cobra.Command) error {
	target, o, err := s.options(cmd.Flags())
	if err == nil {
		err = s.check(cmd)
	}
	var show printer
	if err == nil {
		show, err = s.printer()
	}
	if err != nil {
		if errors.As(err, new(exitError)) {
			return s.failure(err)
		}
		return usageError{cmd, err}
	}
	r := &receiver{sub: s, print: show, out: bufio.NewWriter(cmd.OutOrStdout()), stderr: cmd.ErrOrStderr(), ended: make(chan struct{}), ready: make(chan struct{})}
	o.ManualAck = true // what comes after the last message wanted stays with the broker
	o.OnMessage = r.message
	o.RetryIf = func(err error) bool { return !errors.As(err, new(*client.ConnectError)) && !takenOver(err) }
	signals, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if s.watch {
		fmt.Fprintf(cmd.OutOrStdout(), "\x1b[2J\x1b[1;1HBroker: %s\n", target)
	}
	if r.c, err = s.connect(signals, target, o); err != nil {
		return err
	}
	close(r.ready)
	return r.wait(signals)
}

func takenOver(err error) bool {
	var told *client.DisconnectError
	return errors.As(err, &told) && told.Code == mqtt.SessionTakenOver
}

// subscriptions are the topics with the options of the flags.
func (s *sub) subscriptions() []client.Subscription {
	list := make([]client.Subscription, len(s.topics))
	for i, filter := range s.topics {
		list[i] = client.Subscription{Filter: filter, QoS: byte(s.qos), RetainAsPublished: s.asPublished}
		switch s.retainHandling {
		case "new":
			list[i].RetainHandling = client.RetainedIfNew
		case "never":
			list[i].RetainHandling = client.RetainedNever
		}
	}
	return list
}

// receiver is a running sub.
type receiver struct {
	*sub
	c      *client.Client
	ready  chan struct{} // closed when c is set
	ended  chan struct{} // closed when no more messages are wanted
	print  printer
	out    *bufio.Writer
	stderr io.Writer

	// Only the goroutine that calls message uses these.
	done    bool
	printed int
	rate    rateCounter
}

// wait subscribes and waits for whatever ends the command.
func (r *receiver) wait(signals context.Context) error {
	var timeout <-chan time.Time
	if r.timeout > 0 {
		timeout = time.After(time.Duration(r.timeout) * time.Second)
	}
	subscribed := make(chan error, 1)
	go func() { subscribed <- r.subscribe(signals) }()
	for {
		select {
		case err := <-subscribed:
			switch {
			case errors.Is(err, context.Canceled) || r.c.Err() != nil: // another case here hears of it as well
			case err != nil:
				r.leave(r.props.disconnect)
				return r.failure(err)
			case r.exitAfterSub:
				r.leave(r.props.disconnect)
				return nil
			}
			subscribed = nil
		case <-r.ended:
			r.leave(r.props.disconnect)
			return nil
		case <-timeout:
			r.leave(r.withWill())
			return r.failure(exitError{statusTimeout, verbatim("Timed out")})
		case <-signals.Done():
			r.leave(r.withWill())
			return nil
		case <-r.c.Done():
			return r.failure(lostConnection(r.c.Err()))
		}
	}
}

// withWill is the farewell of a command that is interrupted: the will is wanted.
func (r *receiver) withWill() client.Farewell {
	f := r.props.disconnect
	if r.version == mqtt.V5 {
		f.Code = mqtt.DisconnectWithWill
	}
	return f
}

func (r *receiver) leave(f client.Farewell) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = r.c.DisconnectWith(ctx, f) // nothing more is wanted of this connection
}

// subscribe asks for the topics, then for the unsubscriptions. A refused topic
// ends the command only if all are refused.
func (r *receiver) subscribe(ctx context.Context) error {
	if len(r.topics) > 0 {
		result, err := r.c.SubscribeWith(ctx, r.props.subscribe, r.subscriptions()...)
		var refused *client.ReasonError
		switch {
		case errors.As(err, &refused):
			if allRefused(result.Codes) {
				return exitError{0, verbatim("All subscription requests were denied.")} // Mosquitto's status
			}
			if !r.quiet {
				fmt.Fprintf(r.stderr, "Warning: %v\n", err)
			}
		case err != nil:
			return err
		}
	}
	if len(r.unsubscribe) == 0 {
		return nil
	}
	_, err := r.c.UnsubscribeWith(ctx, r.props.unsubscribe, r.unsubscribe...)
	return err
}

func allRefused(codes []mqtt.ReasonCode) bool {
	for _, c := range codes {
		if !c.IsError() {
			return false
		}
	}
	return true
}

// message deals with one message, and ends the command when it was the last one
// wanted. Only what has been dealt with is acknowledged.
func (r *receiver) message(m *client.Message) {
	if r.done {
		return
	}
	if r.retainedOnly && !m.Retain {
		r.end()
		return
	}
	for _, filter := range r.filterOut {
		if topic.Match(filter, m.Topic) {
			m.Ack()
			return
		}
	}
	if r.removeRetained && m.Retain {
		<-r.ready
		if _, err := r.c.Publish(context.Background(), &client.Message{Topic: m.Topic, QoS: 1, Retain: true}); err != nil && !r.quiet {
			fmt.Fprintf(r.stderr, "Error: removing the retained message of %s: %v\n", m.Topic, err)
		}
	}
	if r.noRetain && m.Retain {
		m.Ack()
		return
	}
	if r.randomFilter >= 100 || rand.Float64()*100 < r.randomFilter {
		r.show(m)
	}
	m.Ack()
	if r.printed++; r.printed == r.count {
		r.end()
	}
}

// show prints m.
func (r *receiver) show(m *client.Message) {
	now := time.Now()
	if r.messageRate {
		r.rate.add(now, r.out)
	} else if err := r.print(r.out, m, now); err != nil && !r.quiet {
		fmt.Fprintf(r.stderr, "Error: %v\n", err)
	}
	if err := r.out.Flush(); err != nil {
		r.end() // nobody reads any more
	}
}

func (r *receiver) end() {
	r.done = true
	close(r.ended)
}

// rateCounter counts messages by the second.
type rateCounter struct {
	second int64
	n      int
}

// add counts a message, and prints the count of a second that is over.
func (c *rateCounter) add(now time.Time, w io.Writer) {
	if s := now.Unix(); s != c.second {
		if c.n > 0 {
			fmt.Fprintf(w, "%d\n", c.n)
		}
		c.second, c.n = s, 0
	}
	c.n++
}
