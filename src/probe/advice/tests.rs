use super::*;
use crate::config;

/// The upstream of a listener of this protocol.
fn upstream(protocol: &str, keys: &str) -> Upstream {
    let text = format!(
        r#"
[[listener]]
name = "clients"
bind = ["127.0.0.1:9"]
protocol = "{protocol}"
upstream = "behind"

[[upstream]]
name = "behind"
{keys}
"#
    );
    let (config, _) = config::parse(&text, "proxy.toml".as_ref()).unwrap();
    Upstream::clone(&config.upstreams[0])
}

fn advisor(upstream: &Upstream, protocol: Protocol, software: Software) -> Advisor<'_> {
    Advisor {
        upstream,
        server: &upstream.servers[0],
        protocol,
        software: Some(software),
        us: IpAddr::from([10, 0, 0, 1]),
        postscreen: false,
    }
}

/// The lines of each remedy.
fn lines(remedies: Vec<Remedy>) -> Vec<Vec<String>> {
    let lines = |remedy: Remedy| remedy.0.into_iter().flat_map(|change| change.lines);
    remedies
        .into_iter()
        .map(|remedy| lines(remedy).collect())
        .collect()
}

#[test]
fn servers_are_named_at_the_port_that_goes_with_the_tls() {
    let cases = [
        ("servers = [\"10.0.0.5\"]", vec!["tls = \"off\""]),
        (
            "servers = [\"10.0.0.5:993\", \"old\", \"[2001:db8::1]:1993\"]",
            vec![
                "tls = \"off\"",
                "servers = [\"10.0.0.5:143\", \"old\", \"[2001:db8::1]:143\"]",
            ],
        ),
    ];
    for (servers, expected) in cases {
        let upstream = upstream("imap", &format!("{servers}\ntls = \"implicit\"\n"));
        let advisor = advisor(&upstream, Protocol::Imap, Software::Dovecot);
        assert_eq!(lines(advisor.without_tls()), [expected]);
    }
    let upstream = upstream("imap", "servers = [\"10.0.0.5:143\"]");
    let advisor = advisor(&upstream, Protocol::Imap, Software::Kerio);
    let login = lines(advisor.login_hidden(HiddenLogin::default()));
    assert_eq!(
        login[1],
        ["tls = \"implicit\"", "servers = [\"10.0.0.5:993\"]"]
    );
}

#[test]
fn each_listener_of_dovecot_has_its_name() {
    let cases = [
        (
            "imap",
            "",
            "service imap-login {",
            "  inet_listener imap {",
            "143",
        ),
        (
            "pop3",
            "tls = \"implicit\"",
            "service pop3-login {",
            "  inet_listener pop3s {",
            "995",
        ),
        (
            "managesieve",
            "",
            "service managesieve-login {",
            "  inet_listener sieve {",
            "4190",
        ),
    ];
    for (word, tls, service, listener, port) in cases {
        let upstream = upstream(word, &format!("servers = [\"mail\"]\n{tls}\n"));
        let protocol = match word {
            "imap" => Protocol::Imap,
            "pop3" => Protocol::Pop3,
            _ => Protocol::ManageSieve,
        };
        let advisor = advisor(&upstream, protocol, Software::Dovecot);
        let expected = [
            "haproxy_trusted_networks = 10.0.0.1",
            service,
            &format!("  # the one on port {port}, whatever it is called"),
            listener,
            "    haproxy = yes",
            "  }",
            "}",
        ];
        assert_eq!(lines(advisor.header_not_expected())[0], expected);
    }
}

#[test]
fn postscreen_takes_the_header_itself() {
    let upstream = upstream(
        "smtp",
        "servers = [\"mail\"]\nclient_address = \"proxy-v1\"\n",
    );
    let mut advisor = advisor(&upstream, Protocol::Smtp, Software::Postfix);
    for (postscreen, option) in [(false, "smtpd"), (true, "postscreen")] {
        advisor.postscreen = postscreen;
        let expected = format!("  -o {option}_upstream_proxy_protocol=haproxy");
        assert_eq!(lines(advisor.header_not_expected())[0], [expected]);
    }
}

#[test]
fn exim_offers_login_to_whom_it_can_tell_to_be_ours() {
    for (way, ours) in [
        ("proxy-v2", "bool{$proxy_session}"),
        ("none", "eq{$sender_host_address}{10.0.0.1}"),
        ("transparent", "true"),
    ] {
        let keys = format!("servers = [\"mail\"]\nclient_address = \"{way}\"\n");
        let upstream = upstream("submission", &keys);
        let advisor = advisor(&upstream, Protocol::Submission, Software::Exim);
        let condition =
            format!("server_advertise_condition = ${{if or{{{{def:tls_in_cipher}}{{{ours}}}}}}}");
        let expected = ["auth_advertise_hosts = *", &condition];
        assert_eq!(
            lines(advisor.login_hidden(HiddenLogin::default())),
            [expected]
        );
    }
}
