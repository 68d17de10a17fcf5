package config

import "math"

// usePasswords is what to use instead of pre-shared keys.
const noPSK = "TLS with pre-shared keys is not in Go's crypto/tls; use certfile and keyfile with require_certificate, or with password_file"

var securityOptions = []*Option{
	{Name: "allow_anonymous", Scope: Securing, Live: true, def: "false; true without a listener", About: "Clients without a user name may connect.",
		bind: func(t *target) any { return &t.sec.AllowAnonymous }},
	{Name: "allow_zero_length_clientid", Scope: Securing, Live: true, About: "Clients without an id get one.",
		bind: func(t *target) any { return &t.sec.AllowEmptyClientID }},
	{Name: "auto_id_prefix", Scope: Securing, Live: true, once: true, Takes: "TEXT", Deprecated: "use listener_auto_id_prefix", About: "What such ids begin with.",
		parse: parseIDPrefix, def: "auto-", bind: func(t *target) any { return &t.sec.AutoIDPrefix }},
	{Name: "password_file", Scope: Securing, Live: true, Takes: "PATH", About: "User names and hashed passwords.",
		Unlike: "clients whose password changed or went are disconnected by a reload", bind: func(t *target) any { return &t.sec.PasswordFile }},
	{Name: "acl_file", Scope: Securing, Live: true, Takes: "PATH", About: "Who may publish and read what.",
		Unlike: "a refusal names the rule, with file and line; further kinds of rules", bind: func(t *target) any { return &t.sec.ACLFile }},
	{Name: "psk_file", Scope: Securing, Takes: "PATH", About: "Pre-shared keys.", Refused: noPSK},
	{Name: "plugin", Aliases: []string{"auth_plugin"}, Takes: "PATH", parse: parsePlugin, About: "Load a module.",
		Unlike: "those of Mosquitto's own that read password and ACL files and persist with SQLite are built in, under their names; others in C are refused: use password_file, acl_file, auth_http_url or jwt_key_file"},
	{Name: "global_plugin", Takes: "PATH", parse: parseGlobalPlugin, About: "Load a module for all listeners.", Unlike: "as plugin"},
	{Name: "plugin_load", Takes: "NAME PATH", parse: parsePluginLoad, About: "Load a module for the listeners that name it.", Unlike: "as plugin"},
	{Name: "plugin_use", Takes: "NAME", parse: parsePluginUse, About: "Use a module that plugin_load has loaded.", Unlike: "as plugin"},
	{Name: "auth_plugin_deny_special_chars", Scope: OfPlugin, Takes: "true|false", def: "true", About: "Refuse + and # in user names and client ids before a module is asked.",
		Unlike: "always refused where %u or %c stands in a rule"},
}

func parseIDPrefix(p *parser, value string) *fault {
	if len(value) > 50 {
		return faultf("auto_id_prefix length must be <= 50.", "is longer than 50 bytes")
	}
	if p.s.PerListener {
		p.l.Security.AutoIDPrefix = value
	} else {
		p.s.Security.AutoIDPrefix = value
	}
	return nil
}

func parseListenerIDPrefix(p *parser, value string) *fault {
	if len(value) > 50 {
		return faultf("'listener_auto_id_prefix' length must be <= 50.", "is longer than 50 bytes")
	}
	p.l.Security.listenerIDPrefix, p.l.Security.listenerIDPrefixSet = value, true
	return nil
}

var listenerOptions = []*Option{
	{Name: "listener", Takes: "PORT [ADDRESS], or 0 PATH", parse: parseListener, Live: true, About: "Open a socket: the options below are for it.",
		Unlike: "a reload opens and closes listeners"},
	{Name: "port", Takes: "PORT", parse: parsePort, Live: true, Deprecated: "use listener", About: "The port of the default listener."},
	{Name: "bind_address", Takes: "ADDRESS", parse: parseBindAddress, once: true, Live: true, Deprecated: "use listener", About: "The address of the default listener."},
	{Name: "bind_interface", Scope: OfListener, once: true, Takes: "NAME", About: "Listen on the addresses of a network interface only.", bind: func(t *target) any { return &t.l.BindInterface }},
	{Name: "socket_domain", Scope: OfListener, words: []string{"ipv4", "ipv6"}, About: "Only one kind of address; without it both.", bind: func(t *target) any { return &t.l.SocketDomain }},
	{Name: "protocol", Scope: OfListener, Live: true, words: []string{"mqtt", "websockets", "http_api", "mqtt+websockets"}, About: "What is spoken there.",
		Unlike: "mqtt+websockets takes both on one port; http_api is there only where it is asked for, and cannot be changed to and from by a reload", bind: func(t *target) any { return &t.l.Protocol }},
	{Name: "accept_protocol_versions", Scope: OfListener, needs: ownListener, Live: true, Takes: "3, 4, 5", def: "3, 4, 5", parse: parseVersions,
		About: "MQTT 3.1, 3.1.1, 5.", Unlike: "other numbers are errors, not left out", bind: func(t *target) any { return &t.l.Versions }},
	{Name: "listener_allow_anonymous", Scope: OfListener, needs: someListener, Live: true, def: "as allow_anonymous", About: "allow_anonymous for this listener alone.",
		bind: func(t *target) any { return &t.l.Security.listenerAnonymous }},
	{Name: "listener_auto_id_prefix", Scope: OfListener, needs: someListener, Live: true, Takes: "TEXT", once: true, def: "as auto_id_prefix",
		parse: parseListenerIDPrefix, About: "auto_id_prefix for this listener alone.", bind: func(t *target) any { return &t.l.Security.listenerIDPrefix }},
	{Name: "max_connections", Scope: OfListener, check: negativeIs(-1), Live: true, About: "Clients that may be connected here; -1: any number.", bind: func(t *target) any { return &t.l.MaxConnections }},
	{Name: "max_qos", Aliases: []string{"maximum_qos"}, Scope: OfListener, Live: true, About: "Highest QoS.", check: func(n int64) (int64, *fault) {
		if n < 0 || n > 2 {
			return 0, faultf("'max_qos' must be between 0 and 2 inclusive.", "%d is no QoS: it must be 0, 1 or 2", n)
		}
		return n, nil
	}, bind: func(t *target) any { return &t.l.MaxQoS }},
	{Name: "max_topic_alias", Scope: OfListener, needs: someListener, Live: true, check: alias("max_topic_alias"), About: "Topic aliases a client may set.",
		bind: func(t *target) any { return &t.l.MaxTopicAlias }},
	{Name: "max_topic_alias_broker", Scope: OfListener, needs: someListener, Live: true, check: alias("max_topic_alias_broker"), About: "Topic aliases the broker sets towards a client.",
		bind: func(t *target) any { return &t.l.MaxTopicAliasBroker }},
	{Name: "mount_point", Scope: OfListener, Live: true, needs: someListener, Takes: "PREFIX", parse: parseMountPoint, About: "Goes in front of all topics of this listener's clients.",
		bind: func(t *target) any { return &t.l.MountPoint }},
	{Name: "use_username_as_clientid", Scope: OfListener, Live: true, About: "The user name takes the place of the client id.", bind: func(t *target) any { return &t.l.UsernameAsClientID }},
	{Name: "enable_proxy_protocol", Scope: OfListener, Live: true, needs: someListener, Takes: "1|2", parse: parseProxy, About: "Each connection begins with a header of the PROXY protocol.",
		Unlike: "see proxy_trusted", bind: func(t *target) any { return &t.l.ProxyProtocol }},
	{Name: "proxy_protocol_v2_require_tls", Scope: OfListener, Live: true, needs: someListener, About: "Refuse clients that did not come to the proxy by TLS.", bind: func(t *target) any { return &t.l.ProxyRequireTLS }},
	{Name: "http_dir", Live: true, Scope: OfListener, needs: someListener, once: true, Takes: "DIRECTORY", About: "Files for web browsers, with protocol http_api or websockets.",
		Unlike: "files of more than 8 MB only with http_api; links that lead out of the directory are not followed", bind: func(t *target) any { return &t.l.HTTPDir }},
	{Name: "websockets_origin", Scope: OfListener, needs: someListener, Takes: "ORIGIN", Live: true, About: "An origin that web pages may connect from, repeatable; without it any.",
		bind: func(t *target) any { return &t.l.Origins }},
	{Name: "socket_mode", Own: true, Scope: OfListener, Takes: "OCTAL", def: "what the umask leaves", parse: parseSocketMode, About: "Permissions of a unix socket, such as 0660: who may write may connect.",
		bind: func(t *target) any { return &t.l.SocketMode }},
	{Name: "proxy_protocol", Own: true, Scope: OfListener, Live: true, Takes: "v1|v2|on|off", def: "off", parse: parseOwnProxy, About: "As enable_proxy_protocol; on takes both versions.",
		bind: func(t *target) any { return &t.l.ProxyProtocol }},
	{Name: "proxy_trusted", Own: true, Scope: OfListener, Takes: "ADDRESS[/BITS]", Live: true, About: "Where proxies may connect from, repeatable; without it from anywhere.",
		parse: parseTrusted, bind: func(t *target) any { return &t.l.ProxyTrusted }},
}

func alias(name string) func(int64) (int64, *fault) {
	return func(n int64) (int64, *fault) {
		if n < 0 || n > math.MaxUint16 {
			return 0, faultf("Invalid '"+name+"' value in configuration.", "%d is not between 0 and 65535", n)
		}
		return n, nil
	}
}

var tlsOptions = []*Option{
	{Name: "certfile", Scope: OfListener, Live: true, Takes: "PATH", About: "The server's certificate with its chain, PEM.", Unlike: "read again by itself when the file changes",
		bind: func(t *target) any { return &t.l.TLS.CertFile }},
	{Name: "keyfile", Scope: OfListener, Live: true, Takes: "PATH", About: "Its key, PEM.", Unlike: "read again by itself when the file changes",
		bind: func(t *target) any { return &t.l.TLS.KeyFile }},
	{Name: "sni_certfile", Own: true, Scope: OfListener, Live: true, Takes: "PATH", parse: parseSNICert, About: "A further certificate, for clients that ask for one of its names; repeatable.",
		bind: func(t *target) any { return &t.l.TLS.SNI }},
	{Name: "sni_keyfile", Own: true, Scope: OfListener, Live: true, Takes: "PATH", parse: parseSNIKey, About: "The key of the sni_certfile above."},
	{Name: "cafile", Scope: OfListener, needs: someListener, Live: true, Takes: "PATH", About: "The authorities of client certificates, PEM.", bind: func(t *target) any { return &t.l.TLS.CAFile }},
	{Name: "capath", Scope: OfListener, Live: true, Takes: "DIRECTORY", About: "A directory of them.", Unlike: "on WebSocket listeners too; no rehash needed",
		bind: func(t *target) any { return &t.l.TLS.CAPath }},
	{Name: "require_certificate", Scope: OfListener, Live: true, About: "Clients must show a certificate.", bind: func(t *target) any { return &t.l.TLS.RequireCertificate }},
	{Name: "use_identity_as_username", Scope: OfListener, Live: true, About: "The certificate's common name is the user name.", bind: func(t *target) any { return &t.l.TLS.IdentityAsUsername }},
	{Name: "use_subject_as_username", Scope: OfListener, Live: true, About: "The certificate's whole subject is.", bind: func(t *target) any { return &t.l.TLS.SubjectAsUsername }},
	{Name: "crlfile", Scope: OfListener, Live: true, Takes: "PATH", About: "Revoked client certificates, PEM.", Unlike: "read again by itself when the file changes",
		bind: func(t *target) any { return &t.l.TLS.CRLFile }},
	{Name: "disable_client_cert_date_checks", Scope: OfListener, needs: someListener, Live: true, About: "Take client certificates that have expired or do not count yet.",
		bind: func(t *target) any { return &t.l.TLS.NoDateChecks }},
	{Name: "ciphers", Scope: OfListener, Live: true, Takes: "LIST", About: "Cipher suites of TLS 1.2, OpenSSL's names with colons between.",
		Unlike: "suites that crypto/tls does not have are left out; if none is left it is an error", bind: func(t *target) any { return &t.l.TLS.Ciphers }},
	{Name: "ciphers_tls1.3", Scope: OfListener, Live: true, Takes: "LIST", About: "Cipher suites of TLS 1.3.",
		Unlike: "all three are always offered: crypto/tls chooses by what the machines are fast at; unknown names are errors", bind: func(t *target) any { return &t.l.TLS.Ciphers13 }},
	{Name: "dhparamfile", Scope: OfListener, Takes: "PATH", Obsolete: "crypto/tls has no finite-field Diffie-Hellman; ECDHE is used", About: "Diffie-Hellman parameters.", Unlike: "as in Mosquitto 2.1 it is not needed"},
	{Name: "tls_version", Scope: OfListener, needs: someListener, Live: true, once: true, words: []string{"tlsv1.3", "tlsv1.2", "tlsv1.1"}, def: "tlsv1.2", About: "The lowest version of TLS.",
		Unlike: "with tlsv1.1 the lowest is 1.2: earlier ones are not safe",
		bind:   func(t *target) any { return &t.l.TLS.Version }},
	{Name: "tls_engine", Scope: OfListener, Takes: "NAME", About: "An engine of OpenSSL.", Refused: "OpenSSL's engines are not there; keep the key in a file (keyfile), readable to the broker's user alone"},
	{Name: "tls_engine_kpass_sha1", Scope: OfListener, Takes: "HEX", About: "The engine's password.", Refused: "OpenSSL's engines are not there; keep the key in a file (keyfile), readable to the broker's user alone"},
	{Name: "tls_keyform", Scope: OfListener, Takes: "pem", def: "pem", parse: parseKeyForm, About: "What keyfile is.", Unlike: "engine is refused: keep the key in a file, PEM"},
	{Name: "psk_hint", Scope: OfListener, Takes: "TEXT", About: "Turns TLS with pre-shared keys on.", Refused: noPSK},
}

func parseKeyForm(p *parser, value string) *fault {
	switch firstWord(value) {
	case "pem":
		return nil
	case "engine":
		return &fault{text: "engine cannot be had: OpenSSL's engines are not there; keep the key in a file, PEM"}
	}
	return faultf("", "%q is not pem", value)
}
