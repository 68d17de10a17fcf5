package certs

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// suite is a cipher suite of TLS 1.2 under OpenSSL's name, and the words of OpenSSL's lists that stand for it.
type suite struct {
	name  string
	id    uint16
	words string
}

// suites are those that Go has and that are not broken.
var suites = []suite{
	{"ECDHE-ECDSA-AES256-GCM-SHA384", tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE ECDSA AES256 AESGCM"},
	{"ECDHE-RSA-AES256-GCM-SHA384", tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE aRSA AES256 AESGCM"},
	{"ECDHE-ECDSA-CHACHA20-POLY1305", tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE ECDSA CHACHA20"},
	{"ECDHE-RSA-CHACHA20-POLY1305", tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE aRSA CHACHA20"},
	{"ECDHE-ECDSA-AES128-GCM-SHA256", tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE ECDSA AES128 AESGCM"},
	{"ECDHE-RSA-AES128-GCM-SHA256", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE aRSA AES128 AESGCM"},
	{"ECDHE-ECDSA-AES256-SHA", tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE ECDSA AES256 SHA1"},
	{"ECDHE-RSA-AES256-SHA", tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "ECDHE aRSA AES256 SHA1"},
	{"ECDHE-ECDSA-AES128-SHA", tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE ECDSA AES128 SHA1"},
	{"ECDHE-RSA-AES128-SHA", tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE aRSA AES128 SHA1"},
	{"ECDHE-ECDSA-AES128-SHA256", tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, "ECDHE ECDSA AES128 SHA256"},
	{"ECDHE-RSA-AES128-SHA256", tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, "ECDHE aRSA AES128 SHA256"},
	{"AES256-GCM-SHA384", tls.TLS_RSA_WITH_AES_256_GCM_SHA384, "kRSA aRSA AES256 AESGCM"},
	{"AES128-GCM-SHA256", tls.TLS_RSA_WITH_AES_128_GCM_SHA256, "kRSA aRSA AES128 AESGCM"},
	{"AES256-SHA", tls.TLS_RSA_WITH_AES_256_CBC_SHA, "kRSA aRSA AES256 SHA1"},
	{"AES128-SHA", tls.TLS_RSA_WITH_AES_128_CBC_SHA, "kRSA aRSA AES128 SHA1"},
	{"AES128-SHA256", tls.TLS_RSA_WITH_AES_128_CBC_SHA256, "kRSA aRSA AES128 SHA256"},
}

// synonyms of the words above.
var synonyms = map[string]string{
	"EECDH": "ECDHE", "kEECDH": "ECDHE", "kECDHE": "ECDHE", "aECDSA": "ECDSA", "RSA": "kRSA", "SHA": "SHA1",
}

// unknownHere are the words in names and lists of OpenSSL that stand for what Go has not, or has only in part.
var unknownHere = strings.Fields("DHE EDH kEDH kDHE ADH AECDH aNULL eNULL NULL DSS aDSS DH ECDH PSK kPSK aPSK kECDHEPSK kDHEPSK kRSAPSK SRP kSRP" +
	" CAMELLIA CAMELLIA128 CAMELLIA256 ARIA ARIAGCM ARIA128 ARIA256 SEED IDEA RC2 RC4 DES 3DES DES CBC3 CBC MD5 EXP EXPORT EXPORT40 EXPORT56 LOW MEDIUM" +
	" SHA384 CCM CCM8 AESCCM AESCCM8 GOST GOST94 GOST89MAC POLY1305 GCM GOST2012 aGOST kGOST COMPLEMENTOFALL COMPLEMENTOFDEFAULT" +
	" SUITEB128 SUITEB128ONLY SUITEB192 TLSv1 TLSv1.0 SSLv3")

// parseCiphers reads a list as OpenSSL's ciphers(1) describes it: names and words, joined by + if they must hold together,
// with ! or - before those to leave out, between colons, commas or spaces. nil: Go's own choice. without are the names in it
// that cannot be had.
func parseCiphers(list string) (ids []uint16, without []string, err error) {
	terms := strings.FieldsFunc(list, func(r rune) bool { return r == ':' || r == ',' || r == ' ' })
	if len(terms) == 0 {
		return nil, nil, nil
	}
	var taken, never []suite
	for _, term := range terms {
		sign, rest := term[0], term
		if strings.ContainsRune("!-+", rune(sign)) {
			rest = term[1:]
		}
		if sign == '@' || sign == '+' {
			continue // they concern the order, or OpenSSL's levels
		}
		found, known := find(rest)
		switch {
		case !known:
			return nil, nil, fmt.Errorf("Unable to set TLS ciphers. Check cipher list %q: %q is no cipher suite", list, rest)
		case sign == '!':
			never = append(never, found...)
		case sign == '-':
			taken = slices.DeleteFunc(taken, func(s suite) bool { return slices.Contains(found, s) })
		case len(found) == 0:
			without = append(without, rest)
		default:
			taken = append(taken, found...)
		}
	}
	for _, s := range taken {
		if !slices.Contains(never, s) && !slices.Contains(ids, s.id) {
			ids = append(ids, s.id)
		}
	}
	if len(ids) == 0 {
		return nil, nil, fmt.Errorf("Unable to set TLS ciphers. Check cipher list %q: none of these can be had; there are %s", list, names())
	}
	return ids, without, nil
}

// find gives the suites that a name, or words joined by +, stand for. known: it is something that OpenSSL knows.
func find(term string) (found []suite, known bool) {
	switch term {
	case "DEFAULT", "ALL", "HIGH", "SECURE", "TLSv1.2":
		// The safe ones: not those without forward secrecy, nor CBC with SHA-256, which Go does not make safe against timing.
		for _, s := range suites {
			if strings.Contains(s.words, "ECDHE") && (strings.Contains(s.words, "GCM") || strings.Contains(s.words, "CHACHA") || strings.Contains(s.words, "SHA1")) {
				found = append(found, s)
			}
		}
		return found, true
	}
	for _, s := range suites {
		if s.name == term {
			return []suite{s}, true
		}
	}
	for _, s := range suites {
		if s.is(strings.Split(term, "+")) {
			found = append(found, s)
		}
	}
	if len(found) > 0 {
		return found, true
	}
	for _, w := range strings.FieldsFunc(term, func(r rune) bool { return r == '-' || r == '+' }) {
		if !slices.Contains(unknownHere, w) && !slices.ContainsFunc(suites, func(s suite) bool { return s.is([]string{w}) }) {
			return nil, false
		}
	}
	return nil, true
}

// is reports whether all words stand for the suite.
func (s *suite) is(words []string) bool {
	own := strings.Fields(s.words)
	for _, w := range words {
		if other, ok := synonyms[w]; ok {
			w = other
		}
		if !slices.Contains(own, w) && !(w == "AES" && strings.Contains(s.words, "AES")) {
			return false
		}
	}
	return true
}

func names() string {
	var all []string
	for _, s := range suites {
		all = append(all, s.name)
	}
	return strings.Join(all, ":")
}

// checkCiphers13 accepts only what Go does anyway.
func checkCiphers13(list string) error {
	if list == "" {
		return nil
	}
	given := strings.FieldsFunc(list, func(r rune) bool { return r == ':' || r == ',' || r == ' ' })
	always := []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
	for _, s := range given {
		if !slices.Contains(always, s) && s != "TLS_AES_128_CCM_SHA256" && s != "TLS_AES_128_CCM_8_SHA256" {
			return fmt.Errorf("Unable to set TLS 1.3 ciphersuites. Check cipher_tls13 list %q: %q is no cipher suite", list, s)
		}
	}
	for _, s := range always {
		if !slices.Contains(given, s) {
			return fmt.Errorf("ciphers_tls1.3 %q leaves %s out, which cannot be: the TLS of Go always offers the three suites %s; remove the option", list, s, strings.Join(always, ":"))
		}
	}
	return nil
}
