package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/nightjar-mqtt/nightjar/internal/access/password"
)

// passwdCommand is mosquitto_passwd: the same options, the same files, the same words.
func passwdCommand() *cobra.Command {
	p := &passwd{}
	cmd := &cobra.Command{
		Use:   "passwd [-H HASH] [-c | -D] PASSWORDFILE USER | -b PASSWORDFILE USER PASSWORD | -U PASSWORDFILE",
		Short: "make and change password files",
		Long: "Add a user to a password file, or change the password, which is asked for; as mosquitto_passwd does.\n\n" +
			"  nightjar passwd -c passwords alice      make a file with one user\n" +
			"  nightjar passwd passwords bob           add a user, or change the password\n" +
			"  nightjar passwd -D passwords bob        delete a user\n" +
			"  nightjar passwd -U passwords            hash what is in it in plain text\n\n" +
			"Mosquitto reads the files, and the other way round. Mosquitto 2.0 knows sha512-pbkdf2 and sha512 only,\n" +
			"2.1 argon2id as well; bcrypt is Nightjar's alone.",
	}
	setHelp(cmd)
	f := cmd.Flags()
	f.SetInterspersed(false) // a password may begin with a hyphen
	f.BoolVarP(&p.batch, "batch", "b", false, "take the password from the command line, where others can see it")
	f.BoolVarP(&p.create, "create", "c", false, "make a new file; one that is there is overwritten; - as the file is the output")
	f.BoolVarP(&p.remove, "delete", "D", false, "delete the user")
	f.BoolVarP(&p.upgrade, "upgrade", "U", false, "hash the passwords of a file that has them in plain text")
	f.StringVarP(&p.kind, "hash", "H", string(password.PBKDF2), "sha512-pbkdf2, argon2id, sha512 (quick to guess) or bcrypt")
	f.IntVarP(&p.iterations, "iterations", "I", 0, fmt.Sprintf("rounds of sha512-pbkdf2; default %d", password.DefaultIterations))
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		return p.arguments(cmd.Flags().Changed("iterations"), args)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p.in, p.out, p.err = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
		return p.run()
	}
	return cmd
}

// passwd is one run of it.
type passwd struct {
	batch, create, remove, upgrade bool
	kind                           string
	iterations                     int
	file, user, password           string
	in                             io.Reader
	out, err                       io.Writer
}

// arguments checks options against each other and takes the words behind them. The errors are mosquitto_passwd's.
func (p *passwd) arguments(iterations bool, args []string) error {
	for _, c := range []struct {
		both  bool
		names string
	}{
		{p.create && p.remove, "-c and -D"}, {p.create && p.upgrade, "-c and -U"}, {p.remove && p.upgrade, "-D and -U"}, {p.remove && p.batch, "-b and -D"},
	} {
		if c.both {
			return fmt.Errorf("%s cannot be used together.", c.names)
		}
	}
	if !slices.Contains(password.Kinds, password.Kind(p.kind)) {
		return fmt.Errorf("Unknown hash type '%s'", p.kind)
	}
	if iterations && p.iterations < 1 {
		return errors.New("Number of iterations must be > 0.")
	}
	want, names := 2, "PASSWORDFILE USER"
	switch {
	case p.upgrade:
		want, names = 1, "-U PASSWORDFILE"
	case p.batch:
		want, names = 3, "-b PASSWORDFILE USER PASSWORD"
	}
	if len(args) != want {
		return fmt.Errorf("expected 'nightjar passwd %s', which are %d words; there are %d", names, want, len(args))
	}
	p.file = args[0]
	if want > 1 {
		p.user = args[1]
		if err := password.ValidName(p.user); err != nil {
			return verbatim("Error: " + err.Error())
		}
	}
	if want > 2 {
		p.password = args[2]
		if len(p.password) > 65535 {
			return verbatim("Error: Password must be less than 65536 characters long.")
		}
	}
	return nil
}

func (p *passwd) run() error {
	if p.create {
		return p.makeNew()
	}
	old, err := os.ReadFile(p.file)
	if err != nil {
		var inner *fs.PathError
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return fmt.Errorf("Unable to open password file %s. %w.", p.file, err)
	}
	text := string(old)
	switch {
	case p.remove:
		text, err = password.Delete(text, p.user)
		if errors.Is(err, password.ErrNoUser) {
			return verbatim(fmt.Sprintf("Warning: User %s not found in password file.", p.user))
		}
	case p.upgrade:
		text, err = password.Upgrade(text, p.hash)
	default:
		text, err = p.set(text)
	}
	if err != nil {
		return err
	}
	return password.Write(p.file, text)
}

// makeNew writes a file with one user.
func (p *passwd) makeNew() error {
	hash, err := p.askAndHash()
	if err != nil {
		return err
	}
	text, _ := password.Set("", p.user, hash)
	if p.file == "-" {
		_, err = io.WriteString(p.out, text)
		return err
	}
	fmt.Fprintf(p.out, "Adding password for user %s\n", p.user)
	return password.Write(p.file, text)
}

func (p *passwd) set(text string) (string, error) {
	hash, err := p.askAndHash()
	if err != nil {
		return "", err
	}
	text, found := password.Set(text, p.user, hash)
	verb := "Adding"
	if found {
		verb = "Updating"
	}
	fmt.Fprintf(p.out, "%s password for user %s\n", verb, p.user)
	return text, nil
}

func (p *passwd) askAndHash() (string, error) {
	if !p.batch {
		if err := p.ask(); err != nil {
			return "", err
		}
	}
	return p.hash([]byte(p.password))
}

func (p *passwd) hash(pass []byte) (string, error) {
	return password.Make(password.Kind(p.kind), p.iterations, pass)
}

// ask asks for the password twice. What is typed is not shown; from a pipe two lines are read.
func (p *passwd) ask() error {
	read := p.lines()
	if f, ok := p.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		read = func() (string, error) {
			b, err := term.ReadPassword(int(f.Fd()))
			fmt.Fprintln(p.err)
			return string(b), err
		}
	}
	fmt.Fprint(p.err, "Password: ")
	first, err := read()
	if err != nil {
		return fmt.Errorf("the password cannot be read: %w", err)
	}
	if first == "" {
		return errors.New("Empty password.")
	}
	fmt.Fprint(p.err, "Reenter password: ")
	second, err := read()
	if err != nil {
		return fmt.Errorf("the password cannot be read: %w", err)
	}
	if first != second {
		return errors.New("Passwords do not match.")
	}
	p.password = first
	return nil
}

func (p *passwd) lines() func() (string, error) {
	in := bufio.NewReader(p.in)
	return func() (string, error) {
		line, err := in.ReadString('\n')
		if err != nil && (line == "" || !errors.Is(err, io.EOF)) {
			return "", err
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
}
