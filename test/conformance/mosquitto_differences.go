package conformance

// Verdict says who is right where mosquitto and a case differ.
type Verdict string

// The verdicts.
const (
	StandardRight  Verdict = "the standard"  // mosquitto breaks the statement; Nightjar must not
	BothAllowed    Verdict = "both"          // the standard leaves room; the case asks what Nightjar promises
	NewerMosquitto Verdict = "mosquitto 2.1" // Debian's 2.0 differs from 2.1, which Nightjar follows
)

// Difference is one case that Debian's mosquitto (2.0.11) fails.
type Difference struct {
	Right  Verdict
	Reason string // what mosquitto does instead, with the number of the statement
}

// differences: Case.Key to Difference. The test on mosquitto holds it in both directions: a case that fails there must
// be listed, and a listed case that passes is an error.
var differences = map[string]Difference{}

// differ adds to differences; for init functions. A key twice is a programming error.
func differ(more map[string]Difference) {
	for key, d := range more {
		if _, twice := differences[key]; twice {
			panic("mosquitto difference listed twice: " + key)
		}
		differences[key] = d
	}
}

// MosquittoDifferences returns the differences by Case.Key.
func MosquittoDifferences() map[string]Difference { return differences }
