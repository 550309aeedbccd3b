//! Running it: reload, drain, sockets from systemd, the admin socket, the pages for machines.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

use rustix::process::Signal;

use crate::common::ca::TestCa;
use crate::common::client::Client;
use crate::common::echo;
use crate::common::gatepost::{Gatepost, PROGRAM, Site};
use crate::common::net::Loopback;
use crate::common::process::{require_root, run};
use crate::common::wait;

const NAME: &str = "mail.example.org";

/// A listener of this name at this address that leads to the upstream `echo`.
fn listener(name: &str, bind: &str, tls: &str) -> String {
    format!(
        r#"
[[listener]]
name = "{name}"
bind = ["{bind}"]
protocol = "tcp"
tls = "{tls}"
upstream = "echo"
"#
    )
}

fn upstream(server: SocketAddr) -> String {
    format!("\n[[upstream]]\nname = \"echo\"\nservers = [\"{server}\"]\nhealth_interval = \"0s\"\n")
}

/// A site with a certificate for [`NAME`].
fn site(ca: &TestCa, configuration: &str) -> Site {
    let pair = ca.leaf(&[NAME]).issue();
    Site::new(ca, &[("mail", &pair)], configuration)
}

/// A session that has been shown to work.
#[track_caller]
fn session(address: SocketAddr, ca: &TestCa) -> Client {
    let mut client = Client::tls(address, NAME, ca);
    works(&mut client);
    client
}

#[track_caller]
fn works(client: &mut Client) {
    assert_eq!(client.ask("hello"), "hello");
}

fn reloads(gatepost: &Gatepost, outcome: &str) -> f64 {
    let series = format!("gatepost_config_reloads_total{{outcome=\"{outcome}\"}}");
    gatepost.metric(&series).unwrap()
}

#[test]
fn the_shipped_configuration_starts_as_an_ordinary_user() {
    require_root("a program of another user");
    let site = Site::fresh();
    // Nobody need be allowed to enter the folder that it was built in.
    let program = site.path("gatepost");
    // Copied by another process: one of ours that writes a program hands the open file on to whatever
    // a neighbouring test starts at that moment, and Linux runs no program that is open for writing.
    run("cp", [PROGRAM, program.to_str().unwrap()], b"").ok();
    let (nobody, folder) = (65_534, site.path(""));
    chown(&folder, Some(nobody), Some(nobody)).unwrap();
    let mut command = Command::new(program);
    command.uid(nobody).gid(nobody).current_dir(&folder);

    let gatepost = site.start_by(command);

    for name in ["imaps", "pop3s", "smtps"] {
        assert!(gatepost.listens(name), "{name}");
    }
    assert_eq!(gatepost.status()["default"], "server");
    let key = fs::metadata(folder.join("sslcert/server.key")).unwrap();
    assert_eq!((key.uid(), key.mode() & 0o777), (nobody, 0o600));
}

#[test]
fn a_reload_of_a_wrong_file_changes_nothing_and_says_why() {
    let ca = TestCa::today();
    let right = listener("one", "127.0.0.1:0", "implicit") + &upstream(echo::start());
    let gatepost = site(&ca, &right).start();
    let address = gatepost.address("one");
    let mut open = session(address, &ca);

    let wrong = right.replace("upstream = \"echo\"", "upstream = \"ecko\"");
    gatepost.site.configure(&wrong);
    gatepost.signal(Signal::HUP);
    let said = gatepost.logged(&["ERROR", "ecko"]).to_string();
    assert!(said.contains("proxy.toml"), "{said}");
    assert_eq!(reloads(&gatepost, "error"), 1.0);

    let socket = gatepost.site.path("gatepost.sock");
    let arguments = ["reload", "--socket", socket.to_str().unwrap()];
    let by_socket = run(PROGRAM, arguments, b"");
    let by_configuration = gatepost.site.command(&["reload"]);
    for command in [by_socket, by_configuration] {
        assert_eq!(command.status.code(), Some(78), "{command:#?}");
        let said = command.stderr.lines().next().unwrap();
        assert!(
            said.contains("proxy.toml:") && said.contains("ecko"),
            "{command:#?}"
        );
        assert!(!said.starts_with("gatepost: "), "{command:#?}");
    }
    assert_eq!(reloads(&gatepost, "error"), 3.0);

    assert_eq!(gatepost.address("one"), address);
    works(&mut open);
    session(address, &ca);
}

#[test]
fn a_reload_adds_changes_and_removes_listeners_and_drops_no_session() {
    let ca = TestCa::today();
    let upstream = upstream(echo::start());
    let (first, second) = (Loopback::claim().port(9_001), Loopback::claim().port(9_002));
    let kept = listener("kept", "127.0.0.1:0", "implicit");
    let before = [
        &kept,
        &listener("changed", &first.to_string(), "implicit"),
        &listener("removed", "127.0.0.1:0", "implicit"),
    ];
    let gatepost = site(&ca, &(before.map(String::as_str).concat() + &upstream)).start();
    let removed = gatepost.address("removed");
    let addresses = [gatepost.address("kept"), first, removed];
    let mut open = addresses.map(|address| session(address, &ca));

    let after = [
        &kept,
        &listener("changed", &second.to_string(), "off"),
        &listener("added", "127.0.0.1:0", "implicit"),
    ];
    gatepost
        .site
        .configure(&(after.map(String::as_str).concat() + &upstream));
    gatepost.signal(Signal::HUP);
    wait::until("the reload", || gatepost.listens("added"));

    for client in &mut open {
        works(client);
    }
    session(gatepost.address("kept"), &ca);
    session(gatepost.address("added"), &ca);
    works(&mut Client::plain(second));
    assert!(!gatepost.listens("removed"));
    for gone in [first, removed] {
        wait::until("the listener to go", || TcpStream::connect(gone).is_err());
    }
    assert_eq!(reloads(&gatepost, "ok"), 1.0);
    for client in &mut open {
        works(client);
    }
}

#[test]
fn sigterm_lets_open_sessions_end_by_themselves() {
    let ca = TestCa::today();
    let configuration = listener("one", "127.0.0.1:0", "implicit") + &upstream(echo::start());
    let mut gatepost = site(&ca, &configuration).start();
    let address = gatepost.address("one");
    let mut open = session(address, &ca);

    gatepost.signal(Signal::TERM);
    wait::until("new connections to be refused", || {
        TcpStream::connect(address).is_err()
    });
    works(&mut open);
    assert!(gatepost.server.ended().is_none());
    open.say("last words");
    assert_eq!(open.line(), "last words");
    drop(open);

    assert_eq!(gatepost.server.end().code(), Some(0));
    let socket = gatepost.site.path("gatepost.sock");
    assert!(!socket.exists(), "the admin socket is left behind");
}

#[test]
fn a_drain_ends_when_its_time_is_over() {
    let ca = TestCa::today();
    let listeners = listener("one", "127.0.0.1:0", "implicit") + &upstream(echo::start());
    let limits = "[limits]\ndrain_timeout = \"200ms\"\n";
    let mut gatepost = site(&ca, &(limits.to_owned() + &listeners)).start();
    let mut open = session(gatepost.address("one"), &ca);

    gatepost.signal(Signal::TERM);

    // However it is cut off, nothing more comes.
    assert_eq!(open.rest().unwrap_or_default(), "");
    assert_eq!(gatepost.server.end().code(), Some(0));
}

#[test]
fn stop_returns_when_it_is_done() {
    let ca = TestCa::today();
    let configuration = listener("one", "127.0.0.1:0", "implicit") + &upstream(echo::start());
    let mut gatepost = site(&ca, &configuration).start();
    // A request under way keeps the process after the answer to `stop`.
    let mut slow = UnixStream::connect(gatepost.site.path("gatepost.sock")).unwrap();
    slow.write_all(b"PUT /v1/default HTTP/1.1\r\nHost: gatepost\r\nContent-Length: 2\r\n\r\n{")
        .unwrap();

    thread::scope(|scope| {
        scope.spawn(|| {
            gatepost.logged(&["drained"]);
            drop(slow);
        });
        gatepost.site.command(&["stop"]).ok();
    });

    let status = gatepost.server.ended().expect("stop returned too early");
    assert_eq!(status.code(), Some(0));
    gatepost.again().status();
}

#[test]
fn a_socket_from_systemd_is_used() {
    let ca = TestCa::today();
    let home = Loopback::claim();
    let address = home.port(9_003);
    // The second socket must be bound by the proxy itself; the first cannot be, it is taken.
    let listeners = [
        listener("given", &address.to_string(), "implicit"),
        listener("own", "127.0.0.1:0", "implicit"),
        upstream(echo::start()),
    ];
    let site = site(&ca, &listeners.concat());
    let program = site.run_command();
    let mut activate = Command::new("python3");
    activate
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/clients/activate.py"
        ))
        .args([address.ip().to_string(), address.port().to_string()])
        .arg(program.get_program())
        .args(program.get_args());
    let gatepost = site.start_by(activate);

    assert_eq!(gatepost.address("given"), address);
    session(address, &ca);
    session(gatepost.address("own"), &ca);
}

#[test]
fn promtool_has_nothing_to_say_about_the_metrics() {
    let ca = TestCa::today();
    let configuration = listener("one", "127.0.0.1:0", "implicit") + &upstream(echo::start());
    let gatepost = site(&ca, &configuration).start();
    drop(session(gatepost.address("one"), &ca));
    wait::until("the session to be counted", || {
        gatepost.metric("gatepost_connections_total{listener=\"one\"}") == Some(1.0)
            && gatepost.metric("gatepost_connections_active{listener=\"one\"}") == Some(0.0)
    });

    let page = gatepost.scrape();
    let outcome = run("promtool", ["check", "metrics"], page.as_bytes());
    assert!(outcome.status.success(), "{outcome:#?}\n{page}");
    assert_eq!(outcome.stdout + &outcome.stderr, "");
}

#[test]
fn it_is_live_and_ready_until_it_drains() {
    let ca = TestCa::today();
    let configuration = listener("one", "127.0.0.1:0", "implicit") + &upstream(echo::start());
    let gatepost = site(&ca, &configuration).start();
    let code = |path: &str| gatepost.get(path).map(|(code, _)| code);
    assert_eq!(code("/livez"), Some(200));
    assert_eq!(code("/readyz"), Some(200));
    assert_eq!(code("/elsewhere"), Some(404));
    let open = session(gatepost.address("one"), &ca);

    gatepost.signal(Signal::TERM);

    wait::until("readyz to say no", || code("/readyz") == Some(503));
    assert_eq!(code("/livez"), Some(200));
    drop(open);
}

#[test]
fn the_admin_socket_belongs_to_its_owner_alone() {
    let ca = TestCa::today();
    let gatepost = site(&ca, "").start();
    let socket = fs::metadata(gatepost.site.path("gatepost.sock")).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
}

#[test]
fn whoever_changes_something_is_logged_and_whoever_may_not_too() {
    let ca = TestCa::today();
    let gatepost = site(&ca, "").start();
    gatepost.site.command(&["cert", "set-default", "mail"]).ok();
    let refused = gatepost.site.command(&["cert", "remove", "mail"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:#?}");

    let uid = rustix::process::getuid().as_raw();
    let changed = gatepost.logged(&["changed by the admin socket"]);
    let refused = gatepost.logged(&["refused to the admin socket"]);
    for line in [&changed, &refused] {
        assert_eq!(line["uid"], uid, "{line}");
        assert!(line["pid"].as_u64().is_some_and(|pid| pid > 0), "{line}");
    }
    assert_eq!(refused["level"], "WARN");
    assert_eq!(refused["method"], "DELETE");
    assert_eq!(refused["path"], "/v1/certificates/mail");
    assert_eq!(refused["status"], 409);
}

#[test]
fn a_stale_admin_socket_is_replaced() {
    let ca = TestCa::today();
    let mut gatepost = site(&ca, "").start();
    gatepost.signal(Signal::KILL);
    gatepost.server.end();
    assert!(gatepost.site.path("gatepost.sock").exists());

    let again = gatepost.again();

    assert_eq!(
        again.status()["listeners"].as_array().map(Vec::len),
        Some(0)
    );
}

#[test]
fn another_running_instance_is_left_alone() {
    let ca = TestCa::today();
    let gatepost = site(&ca, "").start();

    let second = gatepost.site.command(&["run"]);

    assert_eq!(second.status.code(), Some(1), "{second:#?}");
    assert!(second.stderr.contains("gatepost.sock"), "{second:#?}");
    gatepost.status();
}

#[test]
fn a_file_in_place_of_the_admin_socket_is_not_touched() {
    let ca = TestCa::today();
    let site = site(&ca, "");
    let file = site.path("gatepost.sock");
    fs::write(&file, "precious").unwrap();

    let outcome = site.command(&["run"]);

    assert_eq!(outcome.status.code(), Some(1), "{outcome:#?}");
    assert!(outcome.stderr.contains("gatepost.sock"), "{outcome:#?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn an_ipv4_client_of_a_listener_for_both_is_logged_as_ipv4() {
    let ca = TestCa::today();
    let configuration = listener("both", "[::]:0", "implicit") + &upstream(echo::start());
    let gatepost = site(&ca, &configuration).start();
    let port = gatepost.address("both").port();
    let client = session(SocketAddr::from(([127, 0, 0, 1], port)), &ca);
    let local = client.local();
    drop(client);

    let line = gatepost.logged(&["gatepost::access", &local.to_string()]);

    assert_eq!(line["client"], local.to_string());
    assert_eq!(line["sni"], NAME);
}

#[test]
fn garbage_in_place_of_a_handshake_ends_that_connection_only() {
    let ca = TestCa::today();
    let configuration = listener("one", "127.0.0.1:0", "implicit") + &upstream(echo::start());
    let gatepost = site(&ca, &configuration).start();
    let address = gatepost.address("one");
    let mut open = session(address, &ca);

    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0x16, 3, 1, 0xff, 0xff],
        &[0; 64],
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(garbage).unwrap();
        drop(stream);
    }

    let failed = "gatepost_tls_handshake_failures_total{listener=\"one\"";
    wait::until("the failures to be counted", || {
        let page = gatepost.scrape();
        let counts = page.lines().filter(|line| line.starts_with(failed));
        let counts = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        counts.sum::<f64>() == 3.0
    });
    works(&mut open);
}
