package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nightjar-mqtt/nightjar/internal/access/authority"
)

// certCommand makes what TLS needs: an authority of one's own, and what it signs.
func certCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cert",
		Short: "make certificates for TLS: a private authority, servers, clients",
		Long: "Make certificates for TLS. A certificate says who somebody is; a certificate authority (CA) vouches for it\n" +
			"with its signature. Make an authority of your own once, then a certificate for the broker, and one for each\n" +
			"client if clients are to prove who they are. Each command prints the lines to paste next.\n\n" +
			"  nightjar cert ca\n" +
			"  nightjar cert server broker.example.org 192.0.2.7\n" +
			"  nightjar cert client sensor-1\n" +
			"  nightjar cert revoke sensor-1\n\n" +
			"Files are never overwritten, except the revocation list. Keys are readable by their owner only. Whoever has\n" +
			"ca.key can make certificates that your broker and clients trust: it need not be on the broker's machine.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	setHelp(cmd)
	for _, sub := range []*cobra.Command{certCACommand(), certServerCommand(), certClientCommand(), certRevokeCommand()} {
		setHelp(sub)
		cmd.AddCommand(sub)
	}
	return cmd
}

// Days that certificates are valid. 825 is the most that some clients take, also from private authorities.
const (
	authorityDays = 3650
	serverDays    = 825
	clientDays    = 825
	listDays      = 3650
)

// certFlags are those of all commands.
type certFlags struct {
	dir, out, caCert, caKey string
	days                    int
}

func (f *certFlags) register(cmd *cobra.Command, days int, what string) {
	fs := cmd.Flags()
	fs.StringVar(&f.dir, "dir", ".", "`directory` of the files")
	fs.IntVar(&f.days, "days", days, "days that "+what+" is valid")
	if cmd.Name() == "ca" {
		return
	}
	fs.StringVar(&f.caCert, "ca", "", "the authority's certificate (ca.crt in the directory)")
	fs.StringVar(&f.caKey, "ca-key", "", "its key (ca.key in the directory)")
}

func (f *certFlags) path(name string) string { return filepath.Join(f.dir, name) }

// authority loads the authority.
func (f *certFlags) authority() (*authority.Authority, error) {
	if f.caCert == "" {
		f.caCert = f.path("ca.crt")
	}
	if f.caKey == "" {
		f.caKey = f.path("ca.key")
	}
	return authority.Load(f.caCert, f.caKey)
}

// until is when a certificate made now ends.
func (f *certFlags) until() (time.Time, error) {
	const most = 100 * 365
	if f.days < 1 || f.days > most {
		return time.Time{}, fmt.Errorf("--days %d: it must be from 1 to %d", f.days, most)
	}
	return time.Now().AddDate(0, 0, f.days), nil
}

func certCACommand() *cobra.Command {
	var f certFlags
	var name string
	cmd := &cobra.Command{
		Use: "ca", Args: cobra.NoArgs,
		Short: "make a private certificate authority: ca.crt, which is public, and ca.key, which is secret",
		RunE: func(cmd *cobra.Command, _ []string) error {
			until, err := f.until()
			if err != nil {
				return err
			}
			if err := authority.Make(name, until, f.path("ca.crt"), f.path("ca.key")); err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			made(w, f.path("ca.crt"), f.path("ca.key"), "valid until "+until.Format(time.DateOnly))
			fmt.Fprintf(w, "\nGive ca.crt to every client, keep ca.key to yourself. Next, with the names and addresses by which clients reach the broker:\n"+
				"  nightjar cert server%s broker.example.org\n", dirFlag(f.dir))
			return nil
		},
	}
	f.register(cmd, authorityDays, "the authority")
	cmd.Flags().StringVar(&name, "name", "", "its common name (Nightjar private CA, and a number)")
	return cmd
}

func dirFlag(dir string) string {
	if dir == "." {
		return ""
	}
	return " --dir " + dir
}

// made says which files there are now.
func made(w io.Writer, cert, key, what string) {
	fmt.Fprintf(w, "made %s (%s)\n     %s (secret)\n", cert, what, key)
}

func certServerCommand() *cobra.Command {
	var f certFlags
	cmd := &cobra.Command{
		Use: "server NAME...", Args: cobra.MinimumNArgs(1),
		Short: "make a certificate for a broker, for all host names and IP addresses by which clients reach it",
		RunE: func(cmd *cobra.Command, names []string) error {
			until, err := f.until()
			if err != nil {
				return err
			}
			ca, err := f.authority()
			if err != nil {
				return err
			}
			base := f.out
			if base == "" {
				base = strings.NewReplacer("*", "any", ":", "-").Replace(names[0])
			}
			cert, key := f.path(base+".crt"), f.path(base+".key")
			until, err = ca.Server(names, until, cert, key)
			if err != nil {
				return err
			}
			made(cmd.OutOrStdout(), cert, key, "for "+strings.Join(names, ", ")+", valid until "+until.Format(time.DateOnly))
			serverLines(cmd.OutOrStdout(), names[0], absolute(cert), absolute(key), absolute(f.caCert))
			return nil
		},
	}
	f.register(cmd, serverDays, "the certificate")
	cmd.Flags().StringVar(&f.out, "out", "", "`name` of the files, without .crt and .key (the first host name)")
	return cmd
}

// absolute is the path for a configuration file, which may be read in another directory.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// serverLines are what to paste next.
func serverLines(w io.Writer, host, cert, key, ca string) {
	fmt.Fprintf(w, `
In mosquitto.conf, for nightjar and for mosquitto:
  listener 8883
  certfile %[2]s
  keyfile %[3]s
That encrypts; who may connect is another matter: password_file FILE, or allow_anonymous true. To let in only those who
have a certificate of this authority, whose name is then their user name:
  cafile %[4]s
  require_certificate true
  use_identity_as_username true
The broker must be able to read the key: if it runs as the user mosquitto, 'chown mosquitto %[3]s'.

Without a configuration file:
  nightjar serve --listen mqtts://0.0.0.0:8883 --cert %[2]s --key %[3]s

Clients, nightjar's and mosquitto's, need ca.crt:
  nightjar sub  -h %[1]s -p 8883 --cafile %[4]s -t '#' -v
  mosquitto_sub -h %[1]s -p 8883 --cafile %[4]s -t '#' -v
`, host, cert, key, ca)
}

func certClientCommand() *cobra.Command {
	var f certFlags
	cmd := &cobra.Command{
		Use: "client NAME", Args: cobra.ExactArgs(1),
		Short: "make a certificate for a client; NAME is its user name where the broker has use_identity_as_username",
		RunE: func(cmd *cobra.Command, args []string) error {
			until, err := f.until()
			if err != nil {
				return err
			}
			ca, err := f.authority()
			if err != nil {
				return err
			}
			base := f.out
			if base == "" {
				base = args[0]
			}
			cert, key := f.path(base+".crt"), f.path(base+".key")
			until, err = ca.Client(args[0], until, cert, key)
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			made(w, cert, key, "for "+args[0]+", valid until "+until.Format(time.DateOnly))
			fmt.Fprintf(w, "\nIt connects with these three files, to a broker that has 'require_certificate true':\n"+
				"  nightjar sub  -h BROKER -p 8883 --cafile %[1]s --cert %[2]s --key %[3]s -t '#' -v\n"+
				"  mosquitto_sub -h BROKER -p 8883 --cafile %[1]s --cert %[2]s --key %[3]s -t '#' -v\n", f.caCert, cert, key)
			return nil
		},
	}
	f.register(cmd, clientDays, "the certificate")
	cmd.Flags().StringVar(&f.out, "out", "", "`name` of the files, without .crt and .key (NAME)")
	return cmd
}

func certRevokeCommand() *cobra.Command {
	var f certFlags
	cmd := &cobra.Command{
		Use: "revoke NAME|FILE...", Args: cobra.MinimumNArgs(1),
		Short: "put certificates on the authority's revocation list, ca.crl",
		RunE: func(cmd *cobra.Command, args []string) error {
			until, err := f.until()
			if err != nil {
				return err
			}
			ca, err := f.authority()
			if err != nil {
				return err
			}
			var certs []string
			for _, a := range args {
				if !strings.HasSuffix(a, ".crt") && !strings.HasSuffix(a, ".pem") {
					a = f.path(a + ".crt")
				}
				certs = append(certs, a)
			}
			list := f.path("ca.crl")
			n, err := ca.Revoke(certs, until, list)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %d revoked, valid until %s; have it made anew before then, by this command\n"+
				"\nIn mosquitto.conf, beside require_certificate:\n  crlfile %s\n"+
				"nightjar reads the file again by itself, mosquitto on SIGHUP. Those who are connected stay until they disconnect.\n",
				list, n, until.Format(time.DateOnly), absolute(list))
			return nil
		},
	}
	f.register(cmd, listDays, "the list")
	return cmd
}
