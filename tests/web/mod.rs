//! HTTP before a real nginx, and before servers that do what servers should not.

mod access;
mod clients;
mod drain;
mod exchange;
mod hard;
mod identity;
mod pages;
mod refused;
mod routes;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::common::ca::TestCa;
use crate::common::client::Client;
use crate::common::gatepost::{Gatepost, Site};
use crate::common::process::{Outcome, run, run_long};
use crate::common::web::{Connection, Request, Web};

const NAME: &str = "mail.example.com";

/// Another one may come first, without the packages that `tests/run` installs.
const PYTHON: &str = "/usr/bin/python3";

/// A listener of http on a free port of loopback, with these keys beside.
fn listener(name: &str, tls: &str, more: &str) -> String {
    format!(
        "[[listener]]\nname = \"{name}\"\nbind = [\"127.0.0.1:0\"]\nprotocol = \"http\"\n\
         tls = \"{tls}\"\n{more}\n"
    )
}

fn upstream(name: &str, server: impl std::fmt::Display, more: &str) -> String {
    format!("[[upstream]]\nname = \"{name}\"\nservers = [\"{server}\"]\n{more}\n")
}

/// Listeners `https` and `http` before one upstream.
fn before(server: impl std::fmt::Display, listener_keys: &str, upstream_keys: &str) -> String {
    let keys = format!("upstream = \"web\"\n{listener_keys}");
    let off = format!("health_interval = \"0s\"\n{upstream_keys}");
    listener("https", "implicit", &keys)
        + &listener("http", "off", &keys)
        + &upstream("web", server, &off)
}

/// A proxy with a certificate for [`NAME`] and `*.example.org`.
struct Proxy {
    gatepost: Gatepost,
}

impl Proxy {
    fn start(configuration: &str) -> Self {
        let gatepost = Self::site(configuration).start();
        Self { gatepost }
    }

    /// One that logs as it does by default: for what is counted in bytes and in processor time.
    fn start_quietly(configuration: &str) -> Self {
        let site = Self::site(configuration);
        let file = site.path("proxy.toml");
        let text = fs::read_to_string(&file).unwrap();
        let quiet = text.replace("level = \"debug\"", "level = \"info\"");
        assert_ne!(quiet, text);
        fs::write(&file, quiet).unwrap();
        let gatepost = site.start();
        Self { gatepost }
    }

    fn site(configuration: &str) -> Site {
        let ca = TestCa::today();
        let pair = ca.leaf(&[NAME, "*.example.org"]).issue();
        Site::new(&ca, &[("mail", &pair)], configuration)
    }

    fn before_web(web: &Web) -> Self {
        Self::start(&before(web.address, "", ""))
    }

    fn address(&self, listener: &str) -> SocketAddr {
        self.gatepost.address(listener)
    }

    /// Runs curl, with `NAME` and the like leading to the listener.
    fn curl(&self, listener: &str, arguments: &[&str]) -> Outcome {
        let address = self.address(listener);
        let root = self.gatepost.site.path("root.pem");
        let resolve = format!("*:{}:{}", address.port(), address.ip());
        let head = [
            "--silent",
            "--show-error",
            "--cacert",
            root.to_str().unwrap(),
            "--resolve",
            &resolve,
        ];
        run("curl", head.iter().chain(arguments), b"")
    }

    /// A URL of a listener.
    fn url(&self, listener: &str, name: &str, path: &str) -> String {
        let scheme = match listener {
            "http" => "http",
            _ => "https",
        };
        let port = self.address(listener).port();
        format!("{scheme}://{name}:{port}{path}")
    }

    /// What a page says.
    #[track_caller]
    fn page(&self, version: &str, path: &str) -> String {
        let url = self.url("https", NAME, path);
        self.curl("https", &[version, &url]).ok()
    }

    /// The status of a page.
    #[track_caller]
    fn status(&self, listener: &str, name: &str, path: &str, more: &[&str]) -> String {
        let url = self.url(listener, name, path);
        let mut arguments = vec!["--output", "/dev/null", "--write-out", "%{http_code}"];
        arguments.extend(more);
        arguments.push(&url);
        self.curl(listener, &arguments).ok()
    }

    /// A client in clear that writes its requests itself.
    #[track_caller]
    fn raw(&self) -> Client {
        Client::plain(self.address("http"))
    }
}

/// Sends a request of these lines.
fn send(client: &mut Client, lines: &[&str]) {
    let text = lines.join("\r\n") + "\r\n\r\n";
    client.send(text.as_bytes()).unwrap();
}

/// The head of an answer, line by line, without the empty one.
#[track_caller]
fn head(client: &mut Client) -> Vec<String> {
    let mut head = Vec::new();
    loop {
        let line = client.line();
        if line.is_empty() {
            return head;
        }
        head.push(line);
    }
}

/// The value of a field of an answer; empty if there is none.
fn field<'h>(head: &'h [String], name: &str) -> &'h str {
    let mut fields = head.iter().filter_map(|line| line.split_once(": "));
    let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
    found.map_or("", |(_, value)| value)
}

/// Answers every request with what it is asked for, and the connection it came on.
fn echo(request: &Request, connection: &mut Connection) -> bool {
    let text = format!("{} on {}", request.path(), request.connection);
    connection.answer("", &text);
    true
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

/// The path of a program of `tests/clients`.
fn client(name: &str) -> String {
    format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Debian's Python, which has Debian's packages, with one of these programs.
fn python(name: &str) -> Command {
    let mut command = Command::new(PYTHON);
    command.arg(client(name));
    command
}

/// Runs one of these programs before a proxy, and returns what it says.
fn script(proxy: &Proxy, name: &str, words: &[String]) -> Outcome {
    let root = proxy.gatepost.site.path("root.pem");
    let head = [client(name), format!("ca={}", root.display())];
    run_long(PYTHON, head.iter().chain(words))
}
