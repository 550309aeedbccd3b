use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cert::{DnsName, Order, UnknownName};
use crate::config::sections::{SECTIONS, Section};
use crate::config::{
    Balance, ClientAddress, Config, Encryption, Legacy, Listener, LogFormat, Protocol,
    ServerAddress, Target, TlsVersion, TrustSource, UpstreamEncryption, Verification, parse,
};

const SMALLEST: &str = r#"
    [[listener]]
    name = "l"
    bind = ["[::]:993"]
    protocol = "imap"
    upstream = "u"
    [[upstream]]
    name = "u"
    servers = ["10.0.0.5"]
"#;

fn config(text: &str) -> Config {
    parse(text, Path::new("/etc/gatepost/proxy.toml"))
        .unwrap()
        .0
}

#[test]
fn defaults() {
    let config = config(SMALLEST);
    let seconds = Duration::from_secs;
    assert_eq!(config.path, Path::new("/etc/gatepost/proxy.toml"));
    let certificates = &config.certificates;
    assert_eq!(certificates.directory, Path::new("/etc/gatepost/sslcert"));
    assert_eq!(certificates.order, Order::Kerio);
    assert_eq!(certificates.trust, [TrustSource::System]);
    assert_eq!(certificates.unknown_name, UnknownName::Default);
    assert!(config.threads > 0);
    assert_eq!(
        config.admin.socket,
        Path::new("/etc/gatepost/gatepost.sock")
    );
    assert_eq!(config.admin.mode, 0o600);
    assert_eq!(config.metrics, "127.0.0.1:9445".parse().unwrap());
    assert_eq!(config.log.level, "info");
    assert_eq!(config.log.format, LogFormat::Text);
    assert!(config.log.access);
    assert_eq!(config.limits.connections, 0);
    assert_eq!(config.limits.connections_per_client, 2000);
    assert_eq!(config.limits.handshake_timeout, seconds(10));
    assert_eq!(config.limits.preamble_timeout, seconds(60));
    assert_eq!(config.limits.drain_timeout, seconds(30));
    assert_eq!(config.tls.min_version, TlsVersion::V1_2);
    assert!(config.tls.post_quantum);
    let listener = config.listener("l").unwrap();
    assert_eq!(listener.encryption, Encryption::Implicit);
    assert_eq!(listener.hostname, None);
    assert_eq!(listener.upstream.as_ref().unwrap().name, "u");
    assert!(listener.accept_proxy_from.is_empty());
    assert_eq!(listener.unknown_name, UnknownName::Default);
    assert!(matches!(listener.legacy, Legacy::Refuse));
    assert!(!listener.mx);
    let upstream = &config.upstreams[0];
    assert_eq!(upstream.client_address, ClientAddress::None);
    assert_eq!(upstream.connect_timeout, seconds(5));
    assert_eq!(upstream.greeting_timeout, seconds(300));
    assert_eq!(upstream.balance, Balance::LeastConnections);
    assert_eq!(upstream.health_interval, Some(seconds(10)));
    assert_eq!(upstream.encryption, UpstreamEncryption::Off);
    let verification = Verification {
        verify: true,
        trust: vec![TrustSource::System],
        server_name: None,
        pin: None,
    };
    assert_eq!(upstream.verification, verification);
    assert!(config.listener("m").is_none());
}

#[test]
fn what_is_written_of_an_upstream() {
    let text = SMALLEST.replace(
        "[\"10.0.0.5\"]",
        "[\"10.0.0.5\"]\ntls = \"implicit\"\nverify = false\n\
         trust = [\"mozilla\", \"ca.pem\"]\nserver_name = \"Mail.example.com.\"\n\
         pin = \"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\"\n\
         client_address = \"transparent\"\ngreeting_timeout = \"20s\"\n\
         balance = \"client-address\"\nhealth_interval = \"0s\"\n",
    );
    let upstream = &config(&text).upstreams[0];
    assert_eq!(upstream.encryption, UpstreamEncryption::Implicit);
    let digest_of_nothing = [
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9,
        0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52,
        0xb8, 0x55,
    ];
    let file = TrustSource::File(PathBuf::from("/etc/gatepost/ca.pem"));
    let verification = Verification {
        verify: false,
        trust: vec![TrustSource::Mozilla, file],
        server_name: Some(DnsName::parse("mail.example.com").unwrap()),
        pin: Some(digest_of_nothing),
    };
    assert_eq!(upstream.verification, verification);
    assert_eq!(upstream.client_address, ClientAddress::Transparent);
    assert_eq!(upstream.greeting_timeout, Duration::from_secs(20));
    assert_eq!(upstream.balance, Balance::ClientAddress);
    assert_eq!(upstream.health_interval, None);
}

#[test]
fn listeners_with_starttls_and_their_old_clients() {
    let text = format!(
        "[limits]\npreamble_timeout = \"30s\"\n{SMALLEST}\n\
         [[upstream]]\nname = \"old\"\nservers = [\"10.0.0.6:1143\"]\n"
    );
    let written = |keys: &str| {
        let listener = format!("{keys}\nupstream = \"u\"");
        config(&text.replacen("upstream = \"u\"", &listener, 1))
    };
    let starttls = written("tls = \"starttls\"\nlegacy = \"passthrough\"\nmx = true");
    assert_eq!(starttls.limits.preamble_timeout, Duration::from_secs(30));
    let listener = &starttls.listeners[0];
    assert_eq!(listener.encryption, Encryption::StartTls);
    assert!(matches!(listener.legacy, Legacy::Passthrough(None)));
    assert!(listener.mx);
    let named =
        written("tls = \"starttls-optional\"\nlegacy = \"passthrough\"\nlegacy_upstream = \"old\"");
    let listener = &named.listeners[0];
    assert_eq!(listener.encryption, Encryption::StartTlsOptional);
    let Legacy::Passthrough(Some(upstream)) = &listener.legacy else {
        panic!("{:?}", listener.legacy)
    };
    assert!(std::sync::Arc::ptr_eq(upstream, &named.upstreams[1]));
}

#[test]
fn idle_timeouts_by_protocol() {
    for (protocol, minutes) in [
        ("imap", 35),
        ("pop3", 10),
        ("smtp", 11),
        ("submission", 11),
        ("managesieve", 35),
        ("http", 60),
        ("tcp", 60),
    ] {
        let text = SMALLEST
            .replace("\"imap\"", &format!("{protocol:?}"))
            .replace(
                "\"10.0.0.5\"]",
                "\"10.0.0.5:1\"]\nclient_address = \"proxy-v2\"",
            );
        let listener = &config(&text).listeners[0];
        assert_eq!(listener.protocol.as_str(), protocol);
        assert_eq!(listener.idle_timeout, Duration::from_secs(minutes * 60));
    }
}

#[test]
fn unknown_name_of_the_listener_wins() {
    let reject = format!("[certificates]\nunknown_name = \"reject\"\n{SMALLEST}");
    assert_eq!(
        config(&reject).listeners[0].unknown_name,
        UnknownName::Reject
    );
    assert_eq!(
        config(&reject).certificates.unknown_name,
        UnknownName::Reject
    );
    let own = reject.replace("upstream = ", "unknown_name = \"default\"\nupstream = ");
    assert_eq!(config(&own).listeners[0].unknown_name, UnknownName::Default);
}

#[test]
fn routes_find_their_upstream_and_listeners() {
    let text = format!(
        "{SMALLEST}\n[[route]]\nnames = [\"*.example.org\"]\nupstream = \"u\"\n\
         [[route]]\nnames = [\"a.example\"]\nlisteners = [\"l\"]\nupstream = \"u\"\n"
    );
    let config = config(&text);
    let [everywhere, one] = config.routes.as_slice() else {
        panic!("{:?}", config.routes)
    };
    assert_eq!(everywhere.names[0].to_string(), "*.example.org");
    let l = config.listener("l").unwrap();
    let m = Listener {
        name: "m".to_owned(),
        ..Listener::clone(l)
    };
    assert!(everywhere.holds_on(l) && everywhere.holds_on(&m));
    assert!(one.holds_on(l) && !one.holds_on(&m));
    let upstream = one.upstream().unwrap();
    assert!(std::sync::Arc::ptr_eq(upstream, &config.upstreams[0]));
}

const WEB: &str = r#"
    [[listener]]
    name = "https"
    bind = ["[::]:443"]
    protocol = "http"
    upstream = "u"
    trusted_proxies = ["10.0.0.0/8"]
    max_body = "100MiB"
    allow = ["192.0.2.0/24"]
    deny = ["192.0.2.7"]
    [[listener]]
    name = "imaps"
    bind = ["[::]:993"]
    protocol = "imap"
    upstream = "u"
    [[route]]
    names = ["a.example"]
    path = "/ews/"
    upstream = "u"
    hsts = "730d"
    [[route]]
    names = ["b.example"]
    redirect = "https:8443"
    [[route]]
    names = ["b.example"]
    path = "/gone"
    respond = 410
    [[route]]
    names = ["c.example"]
    upstream = "u"
    [[upstream]]
    name = "u"
    servers = ["10.0.0.5"]
    host = "Inner.example:8080"
    health_path = "/health?full=1"
"#;

#[test]
fn what_is_written_of_web_servers() {
    let config = config(WEB);
    let [https, imaps] = config.listeners.as_slice() else {
        panic!("{:?}", config.listeners)
    };
    assert_eq!(https.protocol, Protocol::Http);
    assert_eq!(https.idle_timeout, Duration::from_secs(3600));
    assert_eq!(https.trusted_proxies, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(https.max_body, Some(100 << 20));
    for (client, allowed) in [
        ("192.0.2.1", true),
        ("192.0.2.7", false),
        ("198.51.100.1", false),
    ] {
        assert_eq!(https.allows(client.parse().unwrap()), allowed, "{client}");
    }
    assert!(imaps.allows("198.51.100.1".parse().unwrap()));
    assert_eq!((imaps.max_body, imaps.trusted_proxies.len()), (None, 0));
    let targets: Vec<_> = config
        .routes
        .iter()
        .map(|route| match route.target {
            Target::Upstream(_) => "u".to_owned(),
            Target::Redirect(port) => format!("redirect {port}"),
            Target::Respond(status) => format!("respond {status}"),
        })
        .collect();
    assert_eq!(targets, ["u", "redirect 8443", "respond 410", "u"]);
    let on_imaps = config.routes.iter().map(|route| route.holds_on(imaps));
    assert_eq!(on_imaps.collect::<Vec<_>>(), [false, false, false, true]);
    assert!(config.routes.iter().all(|route| route.holds_on(https)));
    assert_eq!(&*config.routes[0].path, "/ews/");
    assert_eq!(&*config.routes[3].path, "/");
    let days = |days: u64| Some(Duration::from_secs(days * 24 * 3600));
    assert_eq!(config.routes[0].hsts, days(730));
    assert_eq!(
        config.upstreams[0].host.as_deref(),
        Some("inner.example:8080")
    );
    let health_path = config.upstreams[0].health_path.as_deref();
    assert_eq!(health_path, Some("/health?full=1"));
}

#[test]
fn servers_and_paths() {
    let tcp = |host: &str, port| ServerAddress::Tcp {
        host: host.to_owned(),
        port,
    };
    for (written, expected) in [
        ("10.0.0.5", tcp("10.0.0.5", None)),
        ("::ffff:10.0.0.5", tcp("10.0.0.5", None)),
        ("10.0.0.5:143", tcp("10.0.0.5", Some(143))),
        ("2001:DB8::5", tcp("2001:db8::5", None)),
        ("[::1]", tcp("::1", None)),
        ("[::1]:143", tcp("::1", Some(143))),
        ("Old_Mail.:143", tcp("old_mail", Some(143))),
        ("bücher.example", tcp("xn--bcher-kva.example", None)),
        ("unix:/run/imap", ServerAddress::Unix("/run/imap".into())),
        (
            "unix:imap",
            ServerAddress::Unix("/etc/gatepost/imap".into()),
        ),
    ] {
        let config = config(&SMALLEST.replace("10.0.0.5", written));
        assert_eq!(config.upstreams[0].servers, [expected], "{written}");
    }
    let text = format!(
        "[certificates]\ntrust = [\"mozilla\", \"ca.pem\", \"/ca\"]\n\
         directory = \"/var/certs\"\n{SMALLEST}"
    );
    let certificates = config(&text).certificates;
    let file = |path| TrustSource::File(PathBuf::from(path));
    let expected = [
        TrustSource::Mozilla,
        file("/etc/gatepost/ca.pem"),
        file("/ca"),
    ];
    assert_eq!(certificates.trust, expected);
    assert_eq!(certificates.directory, Path::new("/var/certs"));
}

#[test]
fn without_a_folder_in_the_path_paths_stay_relative() {
    let (config, _) = parse(SMALLEST, Path::new("proxy.toml")).unwrap();
    assert_eq!(config.certificates.directory, Path::new("sslcert"));
    assert_eq!(config.listeners[0].protocol, Protocol::Imap);
}

/// A table of a section that repeats, with whatever else it must have.
fn with_wrong_value(section: &Section, key: &str) -> String {
    let header = section.header;
    let others = section.required.iter().filter(|other| **other != key);
    let others: String = others
        .map(|other| format!("{other} = 2026-11-22\n"))
        .collect();
    format!("{header}\n{others}{key} = 2026-11-22\n")
}

/// A key that is known and that nothing reads would be passed over in silence.
#[test]
fn every_known_key_is_read() {
    for section in SECTIONS {
        for key in section.keys {
            let text = with_wrong_value(section, key);
            let errors = parse(&text, Path::new("proxy.toml"))
                .unwrap_err()
                .to_string();
            let expected = format!("`{key}` is a date, expected ");
            assert!(
                errors.contains(&expected),
                "{} {key}: {errors}",
                section.header
            );
        }
    }
}
