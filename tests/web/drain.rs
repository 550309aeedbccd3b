//! Requests in the middle of a reload, a drain and an end.

use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use rustix::process::Signal;

use crate::common::client::Client;
use crate::common::wait;
use crate::common::web::Web;
use crate::web::{NAME, Proxy, before, field, head, send};

/// Answers that wait until the test lets them go.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let open = self.0.lock().unwrap();
        drop(self.1.wait_while(open, |open| !*open).unwrap());
    }
}

fn slow() -> (Web, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let opened = Arc::clone(&gate);
    let web = Web::start(move |request, connection| {
        match request.field("upgrade") {
            "" => {}
            upgrade => {
                connection.say(&format!(
                    "HTTP/1.1 101 Switching Protocols\r\nupgrade: {upgrade}\r\nconnection: upgrade\r\n\r\n"
                ));
                while !connection.line().is_empty() {
                    connection.say("heard\r\n");
                }
                return false;
            }
        }
        if request.path() == "/slow" {
            opened.wait();
        }
        connection.answer("", "answered");
        true
    });
    (web, gate)
}

/// A client that has changed the protocol.
fn tunnel(proxy: &Proxy) -> Client {
    let mut client = proxy.raw();
    let host = format!("Host: {NAME}");
    let upgrade = ["Connection: upgrade", "Upgrade: websocket"];
    send(
        &mut client,
        &["GET / HTTP/1.1", &host, upgrade[0], upgrade[1]],
    );
    assert_eq!(head(&mut client)[0], "HTTP/1.1 101 Switching Protocols");
    client
}

#[test]
fn a_reload_and_a_drain_let_requests_finish_and_tell_clients_to_go() {
    let (web, gate) = slow();
    let proxy = Proxy::start(
        &("[limits]\ndrain_timeout = \"20s\"\n".to_owned() + &before(web.address, "", "")),
    );
    let host = format!("Host: {NAME}");
    let mut idle = proxy.raw();
    send(&mut idle, &["GET / HTTP/1.1", &host]);
    let answer = head(&mut idle);
    assert_eq!(field(&answer, "connection"), "");
    idle.bytes(8);
    let mut busy = proxy.raw();
    send(&mut busy, &["GET /slow HTTP/1.1", &host]);
    let mut tunnel = tunnel(&proxy);
    let url = proxy.url("https", NAME, "/slow");
    thread::scope(|scope| {
        let http2 = scope.spawn(|| proxy.curl("https", &["--http2", &url]).ok());
        wait::until("both to wait", || {
            web.requests()
                .iter()
                .filter(|request| request.path() == "/slow")
                .count()
                == 2
        });
        proxy.gatepost.site.command(&["reload"]).ok();
        assert_eq!(idle.rest().unwrap(), "", "it is told to go");
        assert_eq!(tunnel.ask("still there?"), "heard");
        gate.open();
        let answer = head(&mut busy);
        assert_eq!(
            (answer[0].as_str(), field(&answer, "connection")),
            ("HTTP/1.1 200 OK", "close")
        );
        assert_eq!(busy.rest().unwrap(), "answered");
        assert_eq!(http2.join().unwrap(), "answered");
    });
    assert_eq!(tunnel.ask("and now?"), "heard");
    // The new configuration serves new connections.
    assert_eq!(proxy.page("--http2", "/"), "answered");
}

#[test]
fn an_end_waits_for_requests_and_ends_what_has_no_end() {
    let (web, gate) = slow();
    let mut proxy = Proxy::start(
        &("[limits]\ndrain_timeout = \"3s\"\n".to_owned() + &before(web.address, "", "")),
    );
    let host = format!("Host: {NAME}");
    let mut busy = proxy.raw();
    send(&mut busy, &["GET /slow HTTP/1.1", &host]);
    let mut tunnel = tunnel(&proxy);
    wait::until("the request to wait", || web.requests().len() == 2);
    proxy.gatepost.signal(Signal::TERM);
    proxy.gatepost.logged(&["draining"]);
    gate.open();
    assert_eq!(field(&head(&mut busy), "connection"), "close");
    assert_eq!(
        tunnel.ask("a word"),
        "heard",
        "it has the time of the drain"
    );
    assert!(proxy.gatepost.server.end().success());
    assert_eq!(tunnel.rest().unwrap_or_default(), "");
}
