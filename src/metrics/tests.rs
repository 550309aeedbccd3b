use super::*;

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

fn touched() -> Arc<Metrics> {
    let metrics = Metrics::new("1.2.3");
    let imaps = metrics.listener("imaps");
    imaps.active.inc();
    imaps.connections.inc();
    imaps.received_downstream.inc_by(10);
    imaps.ended("relay", "downstream", "closed");
    imaps.refused("limit");
    imaps.handshake("1.3", true, 0.002);
    imaps.handshake("1.2", false, 0.02);
    imaps.handshake_failed("timeout");
    imaps.starttls("ok");
    imaps.starttls_injection();
    imaps.selected(0);
    imaps.selected(9);
    imaps.selected(10);
    let upstream = metrics.upstream("old-mail");
    upstream.connect_seconds.observe(0.001);
    upstream.error("connect");
    upstream.up("10.0.0.5", true);
    upstream.up("10.0.0.6", false);
    let route = metrics.route("https", "web.example/ews");
    route.request(200, 0.002);
    route.request(200, 0.02);
    route.request(777, 0.02);
    metrics.certificates(&[sample("server", "self-signed")], 2, 3, 4);
    metrics.reload(false, at(5));
    metrics
}

fn sample(name: &str, standing: &'static str) -> CertificateSample {
    CertificateSample {
        name: name.to_owned(),
        not_after: Some(1_800_000_000),
        standing,
        default: true,
    }
}

#[test]
fn renders_what_was_counted() {
    let text = touched().render();
    for line in [
        r#"gatepost_build_info{version="1.2.3"} 1"#,
        r#"gatepost_connections_active{listener="imaps"} 1"#,
        r#"gatepost_connections_ended_total{listener="imaps",party="downstream",reason="closed",stage="relay"} 1"#,
        r#"gatepost_connections_refused_total{listener="imaps",reason="limit"} 1"#,
        r#"gatepost_tls_handshakes_total{listener="imaps",resumed="true",version="1.3"} 1"#,
        r#"gatepost_tls_handshakes_total{listener="imaps",resumed="false",version="1.3"} 0"#,
        r#"gatepost_tls_handshakes_total{listener="imaps",resumed="false",version="1.2"} 1"#,
        r#"gatepost_tls_handshake_failures_total{listener="imaps",reason="timeout"} 1"#,
        r#"gatepost_tls_handshake_seconds_bucket{listener="imaps",le="0.0025"} 1"#,
        r#"gatepost_tls_handshake_seconds_count{listener="imaps"} 2"#,
        r#"gatepost_certificate_selections_total{listener="imaps",rank="none"} 1"#,
        r#"gatepost_certificate_selections_total{listener="imaps",rank="9"} 1"#,
        r#"gatepost_certificate_not_after_timestamp_seconds{name="server"} 1800000000"#,
        r#"gatepost_certificate_info{default="true",name="server",standing="self-signed"} 1"#,
        "gatepost_certificates_set_aside 2",
        "gatepost_certificate_index_names 3",
        "gatepost_certificate_index_updates_total 4",
        r#"gatepost_received_bytes_total{listener="imaps",side="downstream"} 10"#,
        r#"gatepost_sent_bytes_total{listener="imaps",side="upstream"} 0"#,
        r#"gatepost_upstream_up{server="10.0.0.5",upstream="old-mail"} 1"#,
        r#"gatepost_upstream_up{server="10.0.0.6",upstream="old-mail"} 0"#,
        r#"gatepost_upstream_connect_seconds_count{upstream="old-mail"} 1"#,
        r#"gatepost_upstream_errors_total{reason="connect",upstream="old-mail"} 1"#,
        r#"gatepost_http_requests_total{code="200",listener="https",route="web.example/ews"} 2"#,
        r#"gatepost_http_requests_total{code="other",listener="https",route="web.example/ews"} 1"#,
        r#"gatepost_http_request_seconds_count{route="web.example/ews"} 3"#,
        r#"gatepost_config_reloads_total{outcome="error"} 1"#,
        r#"gatepost_config_reloads_total{outcome="ok"} 0"#,
        "gatepost_config_last_reload_success_timestamp_seconds 0",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
    }
}

#[test]
fn every_family_has_help_and_type() {
    let metrics = touched();
    let text = metrics.render();
    for family in metrics.families() {
        let Family { name, kind, .. } = family;
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name}");
    }
    let shown = text.lines().filter(|l| l.starts_with("# TYPE ")).count();
    assert_eq!(shown, metrics.families().len());
}

#[test]
fn certificates_show_one_state() {
    let metrics = touched();
    metrics.certificates(
        &[sample("server", "expired"), sample("b", "valid")],
        0,
        1,
        6,
    );
    let text = metrics.render();
    assert!(text.contains(r#"name="server",standing="expired""#));
    assert!(text.contains(r#"name="b",standing="valid""#));
    assert!(!text.contains("self-signed"));
    assert!(text.contains("gatepost_certificate_index_updates_total 6\n"));
}

#[test]
fn removed_listeners_and_servers_leave_no_series() {
    let metrics = touched();
    let old = metrics.listener("imaps");
    let upstream = metrics.upstream("old-mail");
    metrics.listener("smtps");
    metrics.retain_listeners(&["smtps"]);
    old.ended("relay", "downstream", "closed");
    old.refused("limit");
    assert!(!metrics.render().contains("imaps"));
    assert!(metrics.render().contains("smtps"));

    metrics.retain_upstreams(&[("old-mail", vec!["10.0.0.6".to_owned()])]);
    upstream.up("10.0.0.5", true);
    assert!(!metrics.render().contains("10.0.0.5"));
    assert!(metrics.render().contains("10.0.0.6"));

    metrics.retain_upstreams(&[]);
    upstream.up("10.0.0.6", true);
    upstream.error("connect");
    assert!(!metrics.render().contains("old-mail"));
}

#[test]
fn removed_routes_leave_no_series() {
    let metrics = touched();
    let old = metrics.route("https", "web.example/ews");
    let kept = ("https".to_owned(), "other.example".to_owned());
    metrics.route(&kept.0, &kept.1).request(404, 0.1);
    metrics.retain_routes(&[kept]);
    old.request(201, 0.1);
    old.request(200, 0.1);
    assert!(!metrics.render().contains("web.example"));
    assert!(metrics.render().contains("other.example"));
}

#[test]
fn handles_are_the_same_until_removed() {
    let metrics = touched();
    assert!(Arc::ptr_eq(
        &metrics.listener("imaps"),
        &metrics.listener("imaps")
    ));
    metrics.retain_listeners(&["imaps"]);
    assert_eq!(metrics.listener("imaps").connections.get(), 1);
}

#[test]
fn a_good_reload_is_remembered() {
    let metrics = touched();
    metrics.reload(true, at(77));
    metrics.reload(false, at(99));
    let text = metrics.render();
    assert!(text.contains("config_last_reload_success_timestamp_seconds 77\n"));
    assert!(text.contains("config_reloads_total{outcome=\"error\"} 2\n"));
}
