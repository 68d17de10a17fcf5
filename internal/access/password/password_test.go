package password

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Hashes made by other programs.
var foreign = map[string]struct{ password, hash string }{
	"mosquitto_passwd 2.0.11":           {"secret", "$7$101$1eS+wgKfvIptR5EI$WHnEf9AQuC6nAuXUppMC2OrJFsLOVNDMQ7GUp8MboBJc+B8SjNrDqpwflkQ+7mG7aAGMDU5DJp4G+oBSZ6OeMg=="},
	"mosquitto_passwd 2.0.11 -H sha512": {"secret", "$6$LbmvyVGNpu+lQ8LG$s49HNLgpUnTnBwtLVUTtDYh2N5oyTxjgQzOm4NDJSig1wp72a/N0KhJVcCz7z/XDX29wZJORy/wuVg+JdtGkjA=="},
	"argon2, its own test":              {"password", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"},
	"bcrypt, John the Ripper's tests":   {"U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"},
}

func TestVerifyForeign(t *testing.T) {
	for name, c := range foreign {
		h, err := Parse(c.hash)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !h.Verify([]byte(c.password)) {
			t.Errorf("%s: the password is not accepted", name)
		}
		wrongs := []string{c.password + "x", "", c.password[1:], "\x00" + c.password}
		if h.Kind() == Argon2id { // a second each with the race detector
			wrongs = wrongs[:1]
		}
		for _, wrong := range wrongs {
			if h.Verify([]byte(wrong)) {
				t.Errorf("%s: %q is accepted", name, wrong)
			}
		}
	}
}

func TestMakeAndVerify(t *testing.T) {
	for _, kind := range Kinds {
		for _, p := range []string{"", "secret", "pass:word with $ and ü", strings.Repeat("x", 70)} {
			text, err := Make(kind, 50, []byte(p))
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			h, err := Parse(text)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if !h.Verify([]byte(p)) || h.Verify([]byte(p+"!")) || h.Kind() != kind || h.String() != text {
				t.Errorf("%s: a hash of %q does not do", kind, p)
			}
			if kind == Bcrypt || kind == Argon2id {
				break // they are slow, the more so with the race detector
			}
			if again, _ := Make(kind, 50, []byte(p)); again == text {
				t.Errorf("%s: two hashes have the same salt", kind)
			}
		}
	}
	if text, err := Make(PBKDF2, 0, nil); err != nil || !strings.HasPrefix(text, "$7$20000$") {
		t.Errorf("%s, %v", text, err)
	}
	if _, err := Make(Bcrypt, 0, make([]byte, 73)); err == nil {
		t.Error("bcrypt takes a password of which it would ignore the end")
	}
}

// What a file might hold by mistake or by malice is refused, without a word of it in the error.
func TestParseMalformed(t *testing.T) {
	sum := strings.Repeat("A", 86) + "=="
	for _, text := range []string{
		"", "secret", "$", "$$", "$5$salt$hash", "$1$x$y", "$6", "$6$", "$6$$", "$6$c2FsdA==", "$6$c2FsdA==$", "$6$$" + sum,
		"$6$c2FsdA==$c2hvcnQ=", "$6$!!!!$" + sum, "$6$c2FsdA==$" + sum[:80] + "!!!!" + sum[84:],
		"$7$", "$7$0$c2FsdA==$" + sum, "$7$-1$c2FsdA==$" + sum, "$7$x$c2FsdA==$" + sum, "$7$999999999999$c2FsdA==$" + sum,
		"$7$99999999999999999999999$c2FsdA==$" + sum, "$7$101$c2FsdA==",
		"$6$" + strings.Repeat("A", 4000) + "$" + sum,
		"$argon2id$", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ", "$argon2id$v=16$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=4294967295,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=65536,t=0,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=65536,t=2,p=0$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=65536,t=999999,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$", "$argon2id$v=19$m=65536,t=2,p=1$$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$2a$", "$2a$05$CCCC", "$2a$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvy!!!",
	} {
		h, err := Parse(text)
		if err == nil {
			t.Errorf("%q is taken for a hash: %v", text, h)
		} else if len(text) > 5 && strings.Contains(err.Error(), text) {
			t.Errorf("%q: the error tells it: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range foreign {
		f.Add(c.hash)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if h, err := Parse(text); err == nil && h.kind != Bcrypt && len(h.sum) == 0 {
			t.Errorf("%q: a hash of nothing", text)
		}
	})
}

func TestLoad(t *testing.T) {
	good := foreign["mosquitto_passwd 2.0.11 -H sha512"].hash
	path := filepath.Join(t.TempDir(), "passwords")
	text := "# a comment: with a colon\r\n\n bob : " + good + "\r\nplain:secret\nnothing:\n:" + good + "\nno colon\nbob:" + good + "\nlast:" + good + ":1234"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, problems, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if f.Len() != 2 || !f.Check("bob", []byte("secret")) || !f.Check("last", []byte("secret")) {
		t.Errorf("%d users are found; bob and last should be, and log in", f.Len())
	}
	for _, user := range []string{"plain", "nothing", "", "no colon", "# a comment", "Bob", "bob "} {
		if f.Check(user, []byte("secret")) || f.Check(user, nil) {
			t.Errorf("user %q logs in", user)
		}
	}
	var lines []string
	for _, p := range problems {
		line, _, _ := strings.Cut(strings.TrimPrefix(p.Error(), path+":"), ":")
		lines = append(lines, line)
		if strings.Contains(p.Error(), "secret") {
			t.Errorf("a password is in %q", p)
		}
	}
	if want := []string{"4", "5", "6", "7", "8"}; !slices.Equal(lines, want) {
		t.Errorf("problems in lines %v, want %v: %v", lines, want, problems)
	}
	if _, _, err := Load(path + ".not"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestSame(t *testing.T) {
	a, _ := parse("a", "one:"+foreign["mosquitto_passwd 2.0.11"].hash+"\ntwo:"+foreign["mosquitto_passwd 2.0.11"].hash+"\n")
	b, _ := parse("b", "one:"+foreign["mosquitto_passwd 2.0.11"].hash+"\ntwo:"+foreign["argon2, its own test"].hash+"\n")
	for user, want := range map[string]bool{"one": true, "two": false, "three": true} {
		if Same(a, b, user) != want || Same(b, a, user) != want {
			t.Errorf("user %s: same is %v", user, !want)
		}
	}
	if Same(a, nil, "one") || !Same(nil, nil, "one") {
		t.Error("a file that is not there has users")
	}
}

// A user who is not there has one of the hashes of those who are computed against, and always the same one.
func TestUnknownUserIsHashed(t *testing.T) {
	cheap, _ := Make(SHA512, 0, []byte("x"))
	dear, _ := Make(PBKDF2, 200_000, []byte("x"))
	f, problems := parse("f", "cheap:"+cheap+"\ndear:"+dear+"\n")
	if len(problems) > 0 || len(f.decoys) != 2 {
		t.Fatalf("%d decoys, %v", len(f.decoys), problems)
	}
	counted := map[Kind]int{}
	for i := range 200 {
		name := "stranger" + strings.Repeat("x", i)
		counted[f.decoy(name).kind]++
		if again := f.decoy(name); again != f.decoy(name) {
			t.Errorf("%s: another hash each time tells that the user is not there", name)
		}
	}
	if counted[SHA512] < 50 || counted[PBKDF2] < 50 {
		t.Errorf("strangers are hashed as %v, members half and half", counted)
	}
	if empty, _ := parse("f", ""); empty.Check("x", nil) || empty.decoy("x") != nil {
		t.Error("an empty file lets in")
	}
}

func TestEdit(t *testing.T) {
	const file = "# first\none:$6$a\ntwo:$6$b\none:$6$c\nlast:$6$d"
	if got, found := Set(file, "one", "NEW"); !found || got != "# first\none:NEW\ntwo:$6$b\nlast:$6$d" {
		t.Errorf("one has become %q", got)
	}
	if got, found := Set(file, "new", "NEW"); found || got != file+"\nnew:NEW\n" {
		t.Errorf("new has become %q", got)
	}
	if got, err := Delete(file, "two"); err != nil || got != "# first\none:$6$a\none:$6$c\nlast:$6$d" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := Delete(file, "# first"); !errors.Is(err, ErrNoUser) {
		t.Errorf("a comment is deleted: %v", err)
	}
	hash := func(p []byte) (string, error) { return "H(" + string(p) + ")", nil }
	hashed := foreign["mosquitto_passwd 2.0.11"].hash
	if got, err := Upgrade("# c\none:pw:rest\n\n two : p w \nthree:"+hashed+"\n", hash); err != nil || got != "# c\none:H(pw:rest)\n\ntwo:H(p w)\nthree:"+hashed+"\n" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"one\n", "one:\n", ":x\n"} {
		if got, err := Upgrade("a:b\n"+bad, hash); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
	for _, name := range []string{"", "a:b", "a\nb", " a", "a ", "#a", strings.Repeat("a", 70000)} {
		if ValidName(name) == nil {
			t.Errorf("%.10q is taken for a user name", name)
		}
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "passwords")
	if err := Write(path, "a"); err != nil {
		t.Fatal(err)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("a new file has the rights %v", st.Mode())
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := Write(link, "b"); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(path)
	st, _ := os.Lstat(link)
	if info, _ := os.Stat(path); string(got) != "b" || info.Mode().Perm() != 0o640 || st.Mode()&os.ModeSymlink == 0 {
		t.Errorf("%q with %v; the link is %v", got, info.Mode(), st.Mode())
	}
	if err := Write(dir, "x"); err == nil {
		t.Error("a directory is written over")
	}
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("files are left: %v", left)
	}
}

// A wrong password, a user who is not there and one who gives no password take the same time.
func TestTimeTellsNothing(t *testing.T) {
	text := ""
	for _, user := range []string{"alice", "bob", "carol"} {
		h, err := Make(PBKDF2, 3000, []byte("secret"))
		if err != nil {
			t.Fatal(err)
		}
		text += user + ":" + h + "\n"
	}
	f, _ := parse("f", text)
	tries := map[string]struct {
		user string
		pass []byte
	}{"wrong password": {"alice", []byte("guess")}, "unknown user": {"mallory", []byte("guess")}, "no password": {"bob", nil}, "long password": {"carol", make([]byte, 60000)}}
	best := map[string]time.Duration{} // the least of many: what else the machine does only adds
	for range 25 {
		for name, c := range tries {
			start := time.Now()
			f.Check(c.user, c.pass)
			if took := time.Since(start); best[name] == 0 || took < best[name] {
				best[name] = took
			}
		}
	}
	base := best["wrong password"]
	for name, took := range best {
		if took > 2*base || took < base/2 {
			t.Errorf("%s takes %v, a wrong password %v", name, took, base)
		}
	}
}
