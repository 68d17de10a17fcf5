package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/nightjar-mqtt/nightjar/client"
	"github.com/nightjar-mqtt/nightjar/mqtt/topic"
)

// pub is the command that publishes, in the manner of mosquitto_pub.
type pub struct {
	connection
	topic       string
	message     string
	file        string
	null        bool
	stdinFile   bool
	stdinLine   bool
	retain      bool
	repeat      int
	repeatDelay float64
}

func pubCommand() *cobra.Command {
	p := &pub{}
	cmd := &cobra.Command{
		Use:         "pub -t topic {-m message | -f file | -l | -n | -s}",
		Short:       "publish messages",
		Long:        "pub publishes to one topic and exits, with the flags of mosquitto_pub.",
		Example:     "  nightjar pub -t house/temperature -m 21.5 -r -q 1\n  sensor | nightjar pub -L mqtt://user:secret@broker/house/temperature -l",
		Args:        noArguments,
		Annotations: map[string]string{prepareKey: "mosquitto_pub"},
		RunE:        func(cmd *cobra.Command, _ []string) error { return p.run(cmd) },
	}
	fs := cmd.Flags()
	fs.StringVarP(&p.topic, "topic", "t", "", "`topic` to publish to")
	fs.StringVarP(&p.message, "message", "m", "", "`message` to publish")
	fs.StringVarP(&p.file, "file", "f", "", "publish the contents of `file`")
	fs.BoolVarP(&p.stdinLine, "stdin-line", "l", false, "publish each line of standard input")
	fs.BoolVarP(&p.stdinFile, "stdin-file", "s", false, "publish all of standard input as one message")
	fs.BoolVarP(&p.null, "null-message", "n", false, "publish an empty message")
	fs.BoolVarP(&p.retain, "retain", "r", false, "the broker retains the message")
	fs.IntVar(&p.repeat, "repeat", 1, "publish `number` times")
	fs.Float64Var(&p.repeatDelay, "repeat-delay", 0, "`seconds` between two of them")
	p.flags(cmd)
	return cmd
}

// noArguments refuses words that belong to no flag.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{cmd, fmt.Errorf("Unknown option '%s'.", args[0])}
	}
	return nil
}

func (p *pub) run(cmd *cobra.Command) error {
	target, o, err := p.options(cmd.Flags())
	if err == nil {
		err = p.check(cmd)
	}
	if err != nil {
		if errors.As(err, new(exitError)) {
			return p.failure(err)
		}
		return usageError{cmd, err}
	}
	payload, err := p.payload(cmd.InOrStdin())
	if err != nil {
		return err
	}
	o.NoReconnect = !p.stdinLine // one message is not worth waiting for a broker that went away
	o.RetryIf = func(err error) bool { return !errors.As(err, new(*client.ConnectError)) }
	ctx := cmd.Context() // a signal ends the process at once: the broker publishes the will
	c, err := p.connect(ctx, target, o)
	if err != nil {
		return err
	}
	s := &sender{p: p, c: c, stderr: cmd.ErrOrStderr()}
	if p.stdinLine {
		err = s.lines(ctx, cmd.InOrStdin())
	} else {
		err = s.times(ctx, payload)
	}
	if err != nil {
		c.Close()
		return p.failure(lostConnection(err))
	}
	bye, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = c.DisconnectWith(bye, p.props.disconnect) // everything has been acknowledged
	return nil
}

// lostConnection gives an error of a standing connection its status.
func lostConnection(err error) error {
	if errors.As(err, new(*client.ConnectError)) {
		return connectFailure(err)
	}
	return exitError{statusConnectionLost, err}
}

// check holds what pub's own flags must say.
func (p *pub) check(cmd *cobra.Command) error {
	fs := cmd.Flags()
	if p.topic == "" {
		p.topic = p.urlTopic
	}
	modes := 0
	for _, name := range []string{"message", "file", "stdin-line", "stdin-file", "null-message"} {
		if given(fs, name) {
			modes++
		}
	}
	switch {
	case modes > 1:
		return errors.New("Only one type of message can be sent at once.")
	case p.topic == "" || modes == 0:
		return errors.New("Both topic and message must be supplied.")
	case topic.ValidName([]byte(p.topic)) != nil:
		return fmt.Errorf("Invalid publish topic '%s', does it contain '+' or '#'?", p.topic)
	case p.repeat < 1:
		return errors.New("--repeat argument must be >0.")
	case p.repeatDelay < 0:
		return errors.New("--repeat-delay argument must be >=0.0.")
	}
	return nil
}

// payload is what is published, unless it comes line by line.
func (p *pub) payload(stdin io.Reader) ([]byte, error) {
	switch {
	case p.stdinFile:
		return io.ReadAll(stdin)
	case p.file != "":
		return os.ReadFile(p.file)
	case p.stdinLine, p.null:
		return nil, nil
	}
	return []byte(p.message), nil
}

// sender publishes for pub.
type sender struct {
	p      *pub
	c      *client.Client
	stderr io.Writer

	mu     sync.Mutex // guards stderr and failed, which done functions write to
	failed error      // the first error that no later message can mend
}

func (s *sender) packet(payload []byte) *client.Message {
	return &client.Message{Topic: s.p.topic, Payload: payload, QoS: byte(s.p.qos), Retain: s.p.retain, Properties: s.p.props.publish}
}

// times publishes one payload as often as --repeat says.
func (s *sender) times(ctx context.Context, payload []byte) error {
	for i := range s.p.repeat {
		if i > 0 && s.p.repeatDelay > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Duration(s.p.repeatDelay * float64(time.Second))):
			}
		}
		_, err := s.c.Publish(ctx, s.packet(payload))
		if err = s.warn(i+1, err); err != nil {
			return err
		}
	}
	return nil
}

// warn prints a refusal, which ends nothing, and passes on every other error.
func (s *sender) warn(n int, err error) error {
	var refused *client.ReasonError
	if !errors.As(err, &refused) {
		return err
	}
	if !s.p.quiet {
		fmt.Fprintf(s.stderr, "Warning: Publish %d failed: %v.\n", n, refused.Code)
		if refused.Reason != "" {
			fmt.Fprintln(s.stderr, refused.Reason)
		}
	}
	return nil
}

// lines publishes each line of in, and waits for all acknowledgements.
func (s *sender) lines(ctx context.Context, in io.Reader) error {
	var pending sync.WaitGroup
	r := bufio.NewReaderSize(in, 64<<10)
	for n := 0; ; {
		line, readErr := r.ReadBytes('\n')
		if readErr != nil && len(line) == 0 {
			break
		}
		n++
		number := n
		pending.Add(1)
		err := s.c.PublishAsync(ctx, s.packet(bytes.TrimSuffix(line, []byte("\n"))), func(_ client.Result, err error) {
			defer pending.Done()
			s.mu.Lock()
			defer s.mu.Unlock()
			if err = s.warn(number, err); err != nil && s.failed == nil {
				s.failed = err
			}
		})
		if err != nil {
			pending.Done()
			if err = s.warn(n, err); err != nil {
				return err
			}
		}
		if readErr != nil {
			break
		}
	}
	pending.Wait() // a client that ends tells every one of them
	return s.failed
}
