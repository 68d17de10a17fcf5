package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nightjar-mqtt/nightjar/internal/access/acl"
	"github.com/nightjar-mqtt/nightjar/internal/config"
)

// aclCommand is about access control lists.
func aclCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "acl",
		Short: "ask what an access control list allows, and why",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	setHelp(cmd)
	cmd.AddCommand(aclExplainCommand())
	return cmd
}

// aclExplainCommand decides as the broker does.
func aclExplainCommand() *cobra.Command {
	e := &explain{}
	cmd := &cobra.Command{
		Use:   "explain (--acl-file FILE | --config FILE) [--user USER] [--client ID] publish|subscribe|receive TOPIC",
		Short: "say whether a client may publish, subscribe or receive, and by which rule",
		Long: "Say whether a client may publish to a topic, subscribe to a filter or receive what is published to a topic, and\n" +
			"which line of the ACL file says so. The words are those of the broker's log.\n\n" +
			"The exit status is 0 if it is allowed, 1 if it is denied, 2 if the question cannot be answered.",
		Args: cobra.ExactArgs(2),
	}
	setHelp(cmd)
	f := cmd.Flags()
	f.StringVar(&e.aclFile, "acl-file", "", "the ACL file")
	f.StringVarP(&e.config, "config", "c", "", "the configuration file that names it")
	f.StringVarP(&e.user, "user", "u", "", "the client's user name; none is an anonymous client")
	f.StringVarP(&e.client, "client", "i", "", "its client id")
	f.StringVar(&e.from, "from", "", "its address, for rules with 'if from='")
	f.StringVar(&e.listener, "listener", "", "the listener it came by, PORT or PORT:HOST, for rules with 'if listener=', and where each listener has its own file")
	f.Uint8VarP(&e.qos, "qos", "q", 0, "the QoS of what it publishes, for rules with 'if qos='")
	f.BoolVarP(&e.retain, "retain", "r", false, "it publishes a retained message, for rules with 'if retain='")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d, err := e.decide(args[0], args[1])
		if err != nil {
			return exitError{status: 2, err: err}
		}
		if !d.Allowed {
			fmt.Fprintln(cmd.OutOrStdout(), "denied: "+d.Rule)
			return exitError{status: 1}
		}
		fmt.Fprintln(cmd.OutOrStdout(), "allowed: "+d.Rule)
		return nil
	}
	return cmd
}

// explain is a question.
type explain struct {
	aclFile, config              string
	user, client, from, listener string
	qos                          uint8
	retain                       bool
}

func (e *explain) decide(action, topic string) (acl.Decision, error) {
	if (e.aclFile == "") == (e.config == "") {
		return acl.Decision{}, errors.New("expected either --acl-file FILE or --config FILE")
	}
	if e.qos > 2 {
		return acl.Decision{}, fmt.Errorf("--qos is %d: expected 0, 1 or 2", e.qos)
	}
	who := acl.Client{Username: e.user, ClientID: e.client, Listener: e.listener}
	if e.from != "" {
		a, err := netip.ParseAddr(e.from)
		if err != nil {
			return acl.Decision{}, fmt.Errorf("--from: '%s' is no address", e.from)
		}
		who.Address = a.Unmap()
	}
	file := e.aclFile
	if file == "" {
		var err error
		if file, err = e.configured(); err != nil {
			return acl.Decision{}, err
		}
		if file == "" {
			return acl.Decision{Allowed: true, Rule: e.config + " has no acl_file: everything is allowed"}, nil
		}
	}
	list, err := acl.Load(file)
	if err != nil {
		return acl.Decision{}, err
	}
	return list.Explain(&who, action, topic, e.qos, e.retain)
}

// configured finds the ACL file that a configuration file names for the listener.
func (e *explain) configured() (string, error) {
	c, problems := config.Load(e.config)
	if err := problems.Err(); err != nil {
		return "", err
	}
	files := map[string]string{}
	var names []string
	for _, l := range c.Listeners {
		name := acl.ListenerName(l.Name())
		if e.listener != "" && name != e.listener && !strings.HasPrefix(name, e.listener+":") {
			continue
		}
		files[l.Security.ACLFile] = name
		names = append(names, name)
	}
	switch {
	case len(names) == 0:
		return "", fmt.Errorf("%s has no listener '%s'", e.config, e.listener)
	case len(files) > 1:
		return "", fmt.Errorf("%s has an ACL file for each listener: expected --listener with one of %s", e.config, strings.Join(names, ", "))
	}
	for file := range files {
		return file, nil
	}
	return "", nil
}
