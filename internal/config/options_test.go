package config

import (
	"fmt"
	"strings"
	"testing"
)

// effects has a line for every option: what stands in the file (l: a listener, c: a connection stands in front), and what it
// comes to.
var effects = []struct {
	in   string
	get  func(s *Settings) any
	want string
}{
	{"allow_duplicate_messages true", func(s *Settings) any { return s.AllowDuplicates }, "true"},
	{"check_retain_source false", func(s *Settings) any { return s.CheckRetainSource }, "false"},
	{"clientid_prefixes secure-", func(s *Settings) any { return s.ClientIDPrefix }, "secure-"},
	{"connection_messages false", func(s *Settings) any { return s.ConnectionMessages }, "false"},
	{"enable_control_api true", func(s *Settings) any { return s.ControlAPI }, "true"},
	{"global_max_clients 9", func(s *Settings) any { return s.MaxClients }, "9"},
	{"global_max_connections 8", func(s *Settings) any { return s.MaxConnections }, "8"},
	{"max_inflight_bytes 7", func(s *Settings) any { return s.MaxInflightBytes }, "7"},
	{"max_inflight_messages 0x10", func(s *Settings) any { return s.MaxInflight }, "16"},
	{"max_keepalive 60", func(s *Settings) any { return s.MaxKeepAlive }, "60"},
	{"max_packet_size 2000", func(s *Settings) any { return s.MaxPacket }, "2000"},
	{"max_queued_bytes 6", func(s *Settings) any { return s.MaxQueuedBytes }, "6"},
	{"max_queued_messages -5", func(s *Settings) any { return s.MaxQueued }, "0"},
	{"memory_limit 16M", func(s *Settings) any { return s.MemoryLimit }, "16777216"},
	{"message_size_limit 100", func(s *Settings) any { return s.MaxPayload }, "100"},
	{"per_listener_settings true", func(s *Settings) any { return s.PerListener }, "true"},
	{"persistent_client_expiration 2w", func(s *Settings) any { return s.SessionExpiry }, "336h0m0s"},
	{"pid_file /run/a b.pid", func(s *Settings) any { return s.PIDFile }, "/run/a b.pid"},
	{"queue_qos0_messages true", func(s *Settings) any { return s.QueueQoS0 }, "true"},
	{"retain_available false", func(s *Settings) any { return s.RetainAvailable }, "false"},
	{"retain_expiry_interval 90", func(s *Settings) any { return s.RetainExpiry }, "1h30m0s"},
	{"set_tcp_nodelay true", func(s *Settings) any { return s.NoDelay }, "true"},
	{"sys_interval 0", func(s *Settings) any { return s.SysInterval }, "0s"},
	{"upgrade_outgoing_qos 1", func(s *Settings) any { return s.UpgradeQoS }, "true"},
	{"user mqtt", func(s *Settings) any { return s.User }, "mqtt"},
	{"packet_buffer_size 100", func(s *Settings) any { return s.PacketBuffer }, "100"},
	{"websockets_headers_size 101", func(s *Settings) any { return s.PacketBuffer }, "101"},

	{"persistence true", func(s *Settings) any { return s.Store.Persistence }, "true"},
	{"retained_persistence true", func(s *Settings) any { return s.Store.Persistence }, "true"},
	{"persistence_location /var/lib/m/", func(s *Settings) any { return s.Store.Directory() }, "/var/lib/m/nightjar.data"},
	{"persistence_file a.db", func(s *Settings) any { return s.Store.File }, "a.db"},
	{"autosave_interval 5", func(s *Settings) any { return s.Store.AutosaveInterval }, "5"},
	{"autosave_on_changes true", func(s *Settings) any { return s.Store.AutosaveOnChanges }, "true"},
	{"data_dir /data", func(s *Settings) any { return s.Store.Directory() }, "/data"},
	{"sync interval 100ms", func(s *Settings) any { return s.Store.Sync }, "{interval 100ms}"},
	{"sync never", func(s *Settings) any { return s.Store.Sync }, "{never 0s}"},

	{"log_dest stdout unbuffered", func(s *Settings) any { return []any{s.Log.Stdout, s.Log.Unbuffered, s.Log.Stderr} }, "[true true false]"},
	{"log_dest file /var/log/a b.log\nlog_dest topic", func(s *Settings) any { return []any{s.Log.File, s.Log.Topic} }, "[/var/log/a b.log true]"},
	{"log_dest syslog\nlog_dest none", func(s *Settings) any { return []any{s.Log.Syslog, s.Log.None} }, "[false true]"},
	{"log_facility 5", func(s *Settings) any { return s.Log.Facility }, "local5"},
	{"log_timestamp false", func(s *Settings) any { return s.Log.Timestamp }, "false"},
	{"log_timestamp_format %Y-%m-%d %H:%M", func(s *Settings) any { return s.Log.TimestampFormat }, "%Y-%m-%d %H:%M"},
	{"log_type error\nlog_type subscribe", func(s *Settings) any { return s.Log.Types }, "[error subscribe]"},
	{"log_type all", func(s *Settings) any { return s.Log.Logs("debug") }, "true"},
	{"websockets_log_level 7", func(s *Settings) any { return s.Log.WSLevel }, "7"},
	{"log_format json", func(s *Settings) any { return s.Log.Format }, "json"},

	{"l\nallow_anonymous true", func(s *Settings) any { return len(s.Listeners) == 1 && s.Listeners[0].Security.AllowAnonymous == Yes }, "true"},
	{"allow_zero_length_clientid false", func(s *Settings) any { return s.Listeners[0].Security.AllowEmptyClientID }, "false"},
	{"auto_id_prefix x-", func(s *Settings) any { return s.Listeners[0].Security.AutoIDPrefix }, "x-"},
	{"password_file /etc/p w", func(s *Settings) any { return s.Listeners[0].Security.PasswordFile }, "/etc/p w"},
	{"acl_file /etc/acl", func(s *Settings) any { return s.Listeners[0].Security.ACLFile }, "/etc/acl"},
	{"plugin /usr/lib/mosquitto_password_file.so\nplugin_opt_password_file /p", func(s *Settings) any { return s.Listeners[0].Security.PasswordFile }, "/p"},
	{"auth_plugin mosquitto_acl_file.so\nauth_opt_acl_file /a", func(s *Settings) any { return s.Listeners[0].Security.ACLFile }, "/a"},
	{"global_plugin /l/mosquitto_persist_sqlite.so\nplugin_opt_db_file /d/m.sqlite3", func(s *Settings) any { return s.Store.Persistence && s.Store.Directory() == "/d/nightjar.data" }, "true"},
	{"plugin_load p mosquitto_password_file.so\nplugin_opt_password_file /p\nlistener 1\nplugin_use p\nlistener 2",
		func(s *Settings) any {
			return []string{s.Listeners[0].Security.PasswordFile, s.Listeners[1].Security.PasswordFile}
		}, "[/p ]"},
	{"plugin mosquitto_acl_file.so\nauth_plugin_deny_special_chars false", func(s *Settings) any { return s.Plugins[0].DenySpecial }, "false"},

	{"listener 1884 10.0.0.1\nlistener 1885\nlistener 0 /run/s", func(s *Settings) any {
		return []string{s.Listeners[0].Name(), s.Listeners[1].Name(), s.Listeners[2].Path}
	}, "[listener 1884 10.0.0.1 listener 1885 /run/s]"},
	{"port 1884", func(s *Settings) any { return s.Listeners[0].Port }, "1884"},
	{"bind_address 10.0.0.1", func(s *Settings) any { return s.Listeners[0].Name() }, "listener 1883 10.0.0.1"},
	{"l\nbind_interface eth0", func(s *Settings) any { return s.Listeners[0].BindInterface }, "eth0"},
	{"l\nsocket_domain ipv6", func(s *Settings) any { return s.Listeners[0].SocketDomain }, "ipv6"},
	{"l\nprotocol websockets", func(s *Settings) any { return s.Listeners[0].Protocol }, "websockets"},
	{"l\naccept_protocol_versions 5, 3", func(s *Settings) any { return s.Listeners[0].Versions }, "[3 5]"},
	{"l\nallow_anonymous true\nlistener_allow_anonymous false", func(s *Settings) any { return s.Listeners[0].Security.AllowAnonymous == No }, "true"},
	{"l\nauto_id_prefix a-\nlistener_auto_id_prefix b-", func(s *Settings) any { return s.Listeners[0].Security.AutoIDPrefix }, "b-"},
	{"l\nmax_connections 5", func(s *Settings) any { return s.Listeners[0].MaxConnections }, "5"},
	{"l\nmax_qos 1", func(s *Settings) any { return s.Listeners[0].MaxQoS }, "1"},
	{"l\nmaximum_qos 0", func(s *Settings) any { return s.Listeners[0].MaxQoS }, "0"},
	{"l\nmax_topic_alias 3", func(s *Settings) any { return s.Listeners[0].MaxTopicAlias }, "3"},
	{"l\nmax_topic_alias_broker 4", func(s *Settings) any { return s.Listeners[0].MaxTopicAliasBroker }, "4"},
	{"l\nmount_point a b/", func(s *Settings) any { return s.Listeners[0].MountPoint }, "a b/"},
	{"l\nuse_username_as_clientid true", func(s *Settings) any { return s.Listeners[0].UsernameAsClientID }, "true"},
	{"l\nenable_proxy_protocol 2", func(s *Settings) any { return s.Listeners[0].ProxyProtocol }, "2"},
	{"l\nenable_proxy_protocol 2\nproxy_protocol_v2_require_tls true", func(s *Settings) any { return s.Listeners[0].ProxyRequireTLS }, "true"},
	{"l\nproxy_protocol v1\nproxy_trusted 10.0.0.0/8\nproxy_trusted ::1", func(s *Settings) any { return []any{s.Listeners[0].ProxyProtocol, s.Listeners[0].ProxyTrusted} }, "[1 [10.0.0.0/8 ::1]]"},
	{"l\nhttp_dir /srv", func(s *Settings) any { return s.Listeners[0].HTTPDir }, "/srv"},
	{"l\nwebsockets_origin https://a\nwebsockets_origin https://b", func(s *Settings) any { return s.Listeners[0].Origins }, "[https://a https://b]"},
	{"listener 0 /s\nsocket_mode 0660", func(s *Settings) any { return s.Listeners[0].SocketMode }, "432"},

	{"l\ncertfile /c\nkeyfile /k", func(s *Settings) any { return []string{s.Listeners[0].TLS.CertFile, s.Listeners[0].TLS.KeyFile} }, "[/c /k]"},
	{"l\nt\nsni_certfile /c2\nsni_keyfile /k2", func(s *Settings) any { return s.Listeners[0].TLS.SNI }, "[{/c2 /k2}]"},
	{"l\nt\ncafile /ca\nrequire_certificate true", func(s *Settings) any { return []any{s.Listeners[0].TLS.CAFile, s.Listeners[0].TLS.RequireCertificate} }, "[/ca true]"},
	{"l\nt\ncapath /ca", func(s *Settings) any { return s.Listeners[0].TLS.CAPath }, "/ca"},
	{"l\nt\nuse_identity_as_username true", func(s *Settings) any { return s.Listeners[0].TLS.IdentityAsUsername }, "true"},
	{"l\nt\nuse_subject_as_username true", func(s *Settings) any { return s.Listeners[0].TLS.SubjectAsUsername }, "true"},
	{"l\nt\ncrlfile /crl", func(s *Settings) any { return s.Listeners[0].TLS.CRLFile }, "/crl"},
	{"l\nt\ndisable_client_cert_date_checks true", func(s *Settings) any { return s.Listeners[0].TLS.NoDateChecks }, "true"},
	{"l\nt\nciphers HIGH:!aNULL", func(s *Settings) any { return s.Listeners[0].TLS.Ciphers }, "HIGH:!aNULL"},
	{"l\nt\nciphers_tls1.3 TLS_AES_128_GCM_SHA256", func(s *Settings) any { return s.Listeners[0].TLS.Ciphers13 }, "TLS_AES_128_GCM_SHA256"},
	{"l\nt\ntls_version tlsv1.3", func(s *Settings) any { return s.Listeners[0].TLS.Version }, "tlsv1.3"},
	{"l\nt\ndhparamfile /dh\ntls_keyform pem\nretry_interval 20", func(s *Settings) any { return s.Listeners[0].TLS.Used() }, "true"},

	{"engine goroutine", func(s *Settings) any { return s.Own.Engine }, "goroutine"},
	{"loops 2", func(s *Settings) any { return s.Own.Loops }, "2"},
	{"connect_timeout 3", func(s *Settings) any { return s.Own.ConnectTimeout }, "3s"},
	{"max_connect_size 1K", func(s *Settings) any { return s.Own.MaxConnect }, "1024"},
	{"max_opening_connections 5", func(s *Settings) any { return s.Own.MaxOpening }, "5"},
	{"packet_timeout 1m", func(s *Settings) any { return s.Own.PacketTimeout }, "1m0s"},
	{"packet_rate 5", func(s *Settings) any { return s.Own.PacketRate }, "5"},
	{"receive_maximum 5", func(s *Settings) any { return s.Own.ReceiveMaximum }, "5"},
	{"max_subscriptions 5", func(s *Settings) any { return s.Own.MaxSubscriptions }, "5"},
	{"max_outbox_bytes 8K", func(s *Settings) any { return s.Own.OutboxBytes }, "8192"},
	{"max_retained_bytes 1M", func(s *Settings) any { return s.Own.RetainedBytes }, "1048576"},
	{"max_retained_bytes 5M", func(s *Settings) any { return s.Own.RetainedBytes }, "5242880"},
	{"match_cache 5", func(s *Settings) any { return s.Own.MatchCache }, "5"},
	{"shutdown_time 500ms", func(s *Settings) any { return s.Own.ShutdownTime }, "500ms"},
	{"profile 127.0.0.1:6060", func(s *Settings) any { return s.Own.Profile }, "127.0.0.1:6060"},
	{"max_publish_rate 5", func(s *Settings) any { return s.Rate.Publish }, "5"},
	{"max_byte_rate 5", func(s *Settings) any { return s.Rate.Bytes }, "5"},
	{"max_subscribe_rate 5", func(s *Settings) any { return s.Rate.Subscribe }, "5"},
	{"max_connect_rate 5", func(s *Settings) any { return s.Rate.Connect }, "5"},
	{"max_user_publish_rate 5", func(s *Settings) any { return s.Rate.UserPublish }, "5"},
	{"max_user_byte_rate 5", func(s *Settings) any { return s.Rate.UserBytes }, "5"},
	{"max_user_subscribe_rate 5", func(s *Settings) any { return s.Rate.UserSubscribe }, "5"},
	{"max_user_connect_rate 5", func(s *Settings) any { return s.Rate.UserConnect }, "5"},
	{"rate_limit_action refuse", func(s *Settings) any { return s.Rate.Action }, "refuse"},
	{"auth_throttle false", func(s *Settings) any { return s.Throttle.Throttle }, "false"},
	{"auth_throttle_free 2", func(s *Settings) any { return s.Throttle.Free }, "2"},
	{"auth_throttle_first 2s", func(s *Settings) any { return s.Throttle.First }, "2s"},
	{"auth_throttle_longest 2m", func(s *Settings) any { return s.Throttle.Longest }, "2m0s"},
	{"auth_throttle_forget 2h", func(s *Settings) any { return s.Throttle.Forget }, "2h0m0s"},
	{"auth_throttle_entries 2", func(s *Settings) any { return s.Throttle.Entries }, "2"},
	{"auth_hashers 2", func(s *Settings) any { return s.Throttle.Hashers }, "2"},
	{"auth_hash_queue 2", func(s *Settings) any { return s.Throttle.HashQueue }, "2"},
	{"auth_remember_logins -1", func(s *Settings) any { return s.Throttle.RememberLogins }, "-1"},

	{"jwt_secret_file /s", func(s *Settings) any { return s.Security.JWT.SecretFile }, "/s"},
	{"jwt_key_file /k", func(s *Settings) any { return s.Security.JWT.KeyFile }, "/k"},
	{"jwt_jwks https://a/b", func(s *Settings) any { return s.Security.JWT.JWKS }, "https://a/b"},
	{"jwt_jwks_refresh 2h", func(s *Settings) any { return s.Security.JWT.JWKSRefresh }, "2h0m0s"},
	{"jwt_jwks_min_refresh 1m", func(s *Settings) any { return s.Security.JWT.JWKSMinRefresh }, "1m0s"},
	{"jwt_jwks_timeout 1s", func(s *Settings) any { return s.Security.JWT.JWKSTimeout }, "1s"},
	{"jwt_algorithm ES256\njwt_algorithm EdDSA", func(s *Settings) any { return s.Security.JWT.Algorithms }, "[ES256 EdDSA]"},
	{"jwt_issuer i", func(s *Settings) any { return s.Security.JWT.Issuer }, "i"},
	{"jwt_audience a", func(s *Settings) any { return s.Security.JWT.Audience }, "a"},
	{"jwt_leeway 5", func(s *Settings) any { return s.Security.JWT.Leeway }, "5s"},
	{"jwt_max_age 1h", func(s *Settings) any { return s.Security.JWT.MaxAge }, "1h0m0s"},
	{"jwt_no_expiry true", func(s *Settings) any { return s.Security.JWT.NoExpiry }, "true"},
	{"jwt_username_claim name", func(s *Settings) any { return s.Security.JWT.UsernameClaim }, "name"},
	{"jwt_ignore_username true", func(s *Settings) any { return s.Security.JWT.IgnoreUsername }, "true"},
	{"jwt_clientid_claim cid", func(s *Settings) any { return s.Security.JWT.ClientIDClaim }, "cid"},
	{"jwt_publish_claim pub", func(s *Settings) any { return s.Security.JWT.PublishClaim }, "pub"},
	{"jwt_subscribe_claim sub", func(s *Settings) any { return s.Security.JWT.SubscribeClaim }, "sub"},
	{"jwt_required true", func(s *Settings) any { return s.Security.JWT.Required }, "true"},
	{"auth_http_url https://a", func(s *Settings) any { return s.Security.HTTP.URL }, "https://a"},
	{"auth_http_header A: b\nauth_http_header C: d", func(s *Settings) any { return len(s.Security.HTTP.Headers) }, "2"},
	{"auth_http_cafile /ca", func(s *Settings) any { return s.Security.HTTP.CAFile }, "/ca"},
	{"auth_http_timeout 1", func(s *Settings) any { return s.Security.HTTP.Timeout }, "1s"},
	{"auth_http_concurrent 3", func(s *Settings) any { return s.Security.HTTP.Concurrent }, "3"},
	{"auth_http_waiting 3", func(s *Settings) any { return s.Security.HTTP.Waiting }, "3"},
	{"auth_http_cache 30s", func(s *Settings) any { return s.Security.HTTP.CacheTime }, "30s"},
	{"auth_http_cache_refusals 3s", func(s *Settings) any { return s.Security.HTTP.CacheRefusals }, "3s"},
	{"auth_http_cache_entries 3", func(s *Settings) any { return s.Security.HTTP.CacheEntries }, "3"},

	{"c\naddress a:2 b [::1]:3 # or", func(s *Settings) any { return s.Bridges[0].Addresses }, "[{a 2} {b 1883} {::1 3}]"},
	{`c` + "\n" + `topic "a b/#" both 2 l/ r/`, func(s *Settings) any { return s.Bridges[0].Topics[0] }, "{a b/# true true 2 l/ r/}"},
	{"c\nbridge_attempt_unsubscribe false", func(s *Settings) any { return s.Bridges[0].AttemptUnsubscribe }, "false"},
	{"c\nbridge_bind_address 1.2.3.4", func(s *Settings) any { return s.Bridges[0].BindAddress }, "1.2.3.4"},
	{"c\nbridge_max_packet_size 99", func(s *Settings) any { return s.Bridges[0].MaxPacket }, "99"},
	{"c\nbridge_max_topic_alias 9", func(s *Settings) any { return s.Bridges[0].MaxTopicAlias }, "9"},
	{"c\nbridge_outgoing_retain false", func(s *Settings) any { return s.Bridges[0].OutgoingRetain }, "false"},
	{"c\nbridge_protocol_version mqttv50", func(s *Settings) any { return s.Bridges[0].ProtocolVersion }, "mqttv50"},
	{"c\nbridge_receive_maximum 9", func(s *Settings) any { return s.Bridges[0].ReceiveMaximum }, "9"},
	{"c\nbridge_reload_type immediate", func(s *Settings) any { return s.Bridges[0].ReloadType }, "immediate"},
	{"c\nbridge_session_expiry_interval 9", func(s *Settings) any { return s.Bridges[0].SessionExpiry }, "9"},
	{"c\nbridge_tcp_keepalive 1 2 3", func(s *Settings) any { return s.Bridges[0].TCPKeepAlive }, "[1 2 3]"},
	{"c\nbridge_tcp_user_timeout 9", func(s *Settings) any { return s.Bridges[0].TCPUserTimeout }, "9"},
	{"c\ncleansession true", func(s *Settings) any { return s.Bridges[0].CleanSession }, "true"},
	{"c\nlocal_cleansession false", func(s *Settings) any { return s.Bridges[0].LocalCleanSession == No }, "true"},
	{"c\nclientid x", func(s *Settings) any { return s.Bridges[0].RemoteClientID }, "x"},
	{"c\nremote_clientid x", func(s *Settings) any { return s.Bridges[0].RemoteClientID }, "x"},
	{"c\nlocal_clientid x", func(s *Settings) any { return s.Bridges[0].LocalClientID }, "x"},
	{"c\nusername x\npassword y z", func(s *Settings) any { return []string{s.Bridges[0].RemoteUsername, s.Bridges[0].RemotePassword} }, "[x y z]"},
	{"c\nremote_username x\nremote_password y", func(s *Settings) any { return s.Bridges[0].RemotePassword }, "y"},
	{"c\nlocal_username x\nlocal_password y", func(s *Settings) any { return []string{s.Bridges[0].LocalUsername, s.Bridges[0].LocalPassword} }, "[x y]"},
	{"c\nkeepalive_interval 1", func(s *Settings) any { return s.Bridges[0].KeepAlive }, "5s"},
	{"c\nidle_timeout 0", func(s *Settings) any { return s.Bridges[0].IdleTimeout }, "1s"},
	{"c\nthreshold 4", func(s *Settings) any { return s.Bridges[0].Threshold }, "4"},
	{"c\nstart_type lazy", func(s *Settings) any { return s.Bridges[0].StartType }, "lazy"},
	{"c\nrestart_timeout 10 60 5", func(s *Settings) any { return s.Bridges[0].Restart }, "{10s 1m0s 5s}"},
	{"c\nround_robin true", func(s *Settings) any { return s.Bridges[0].RoundRobin }, "true"},
	{"c\nnotifications false", func(s *Settings) any { return s.Bridges[0].Notifications }, "false"},
	{"c\nnotifications_local_only true", func(s *Settings) any { return s.Bridges[0].NotifyLocalOnly }, "true"},
	{"c\nnotification_topic n/t", func(s *Settings) any { return s.Bridges[0].NotifyTopic }, "n/t"},
	{"c\ntry_private false", func(s *Settings) any { return s.Bridges[0].TryPrivate }, "false"},
	{"c\nbridge_cafile /ca", func(s *Settings) any { return s.Bridges[0].CAFile }, "/ca"},
	{"c\nbridge_capath /ca", func(s *Settings) any { return s.Bridges[0].CAPath }, "/ca"},
	{"c\nbridge_tls_use_os_certs true", func(s *Settings) any { return s.Bridges[0].OSCerts }, "true"},
	{"c\nbridge_certfile /c\nbridge_keyfile /k", func(s *Settings) any { return s.Bridges[0].CertFile + s.Bridges[0].KeyFile }, "/c/k"},
	{"c\nbridge_insecure true", func(s *Settings) any { return s.Bridges[0].Insecure }, "true"},
	{"c\nbridge_tls_version tlsv1.3", func(s *Settings) any { return s.Bridges[0].TLSVersion }, "tlsv1.3"},
	{"c\nbridge_ciphers X", func(s *Settings) any { return s.Bridges[0].Ciphers }, "X"},
	{"c\nbridge_ciphers_tls1.3 X", func(s *Settings) any { return s.Bridges[0].Ciphers13 }, "X"},
	{"c\nbridge_alpn mqtt", func(s *Settings) any { return s.Bridges[0].ALPN }, "mqtt"},
	{"c\nbridge_require_ocsp true", func(s *Settings) any { return s.Bridges[0].RequireOCSP }, "true"},
}

// short writes out the sections that effects only hints at.
var short = strings.NewReplacer("l\n", "listener 1883\n", "t\n", "certfile /c\nkeyfile /k\n", "c\n", "connection b\n")

// expand replaces hints that stand on lines of their own.
func expand(in string) string {
	var out []string
	for _, line := range strings.Split(in, "\n") {
		switch line {
		case "l", "t", "c":
			line = strings.TrimSuffix(short.Replace(line+"\n"), "\n")
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// TestEveryOption: each has its effect, or is refused by name with what to use instead.
func TestEveryOption(t *testing.T) {
	tested := make(map[string]bool)
	for _, e := range effects {
		text := expand(e.in)
		s, problems := Load(write(t, text))
		for _, p := range problems.Failures() {
			if p.Option != "connection" { // bridges are complete in TestBridge
				t.Errorf("%q: %v", e.in, p)
			}
		}
		if got := fmt.Sprint(e.get(s)); got != e.want {
			t.Errorf("%q comes to %s, not %s", e.in, got, e.want)
		}
		if blank := fmt.Sprint(getOrNil(e.get)); blank == e.want {
			t.Errorf("%q is the default, so that nothing is tested", e.in)
		}
		for _, line := range strings.Split(text, "\n") {
			name, _, _ := strings.Cut(line, " ")
			tested[name] = true
		}
	}
	for line, instead := range map[string]string{
		"psk_file /p":                 "require_certificate",
		"l\npsk_hint h":               "require_certificate",
		"l\ntls_engine pkcs11":        "keyfile",
		"l\ntls_engine_kpass_sha1 00": "keyfile",
		"l\ntls_keyform engine":       "PEM",
		"c\nbridge_identity i":        "certfile",
		"c\nbridge_psk 00":            "certfile",
		"plugin /usr/lib/my_auth.so":  "auth_http_url",
		"log_dest dlt":                "syslog",
		"log_dest android":            "syslog",
		"plugin mosquitto_dynamic_security.so\nplugin_opt_config_file /c": "not supported by this version",
	} {
		_, problems := Load(write(t, expand(line)))
		if err := problems.Err(); err == nil || !strings.Contains(err.Error(), instead) {
			t.Errorf("%q is not refused with %q: %v", line, instead, err)
		}
		for _, l := range strings.Split(line, "\n") {
			name, _, _ := strings.Cut(l, " ")
			tested[name] = true
		}
	}
	tested["include_dir"] = true // TestIncludeDir
	for _, o := range Options {
		for _, name := range append([]string{o.Name}, o.Aliases...) {
			if !tested[name] && name != "addresses" {
				t.Errorf("no test of %s", name)
			}
		}
	}
}

// getOrNil asks the defaults, which have no sections.
func getOrNil(get func(*Settings) any) (v any) {
	defer func() {
		if recover() != nil {
			v = nil
		}
	}()
	return get(NoFile())
}
