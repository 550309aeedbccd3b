//! `client_address = "transparent"` in a network of three hosts: what the manual says that the
//! proxy's host has to be set to is what it takes, and `check` tells whether it is done.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::{listener, upstream};
use crate::common::ca::TestCa;
use crate::common::gatepost::{PROGRAM, Site};
use crate::common::process::{Outcome, Server, require_root, run};

/// The addresses of the client, of the proxy towards clients and towards servers, and of the server.
const ADDRESSES: [[&str; 4]; 2] = [
    ["10.8.0.7", "10.8.0.1", "10.9.0.1", "10.9.0.2"],
    ["fd00:8::7", "fd00:8::1", "fd00:9::1", "fd00:9::2"],
];

/// A host of its own, as far as networks go: a namespace, which is there as long as this value.
struct Host {
    holder: Server,
}

impl Host {
    fn start(folder: &Path, name: &str) -> Self {
        require_root("A network namespace");
        let mut command = Command::new("unshare");
        let script = "ip link set lo up && echo here && exec sleep infinity";
        command.args(["--net", "sh", "-c", script]);
        let holder = Server::start("host", &mut command, &folder.join(name));
        holder.logged(&["here"]);
        Self { holder }
    }

    fn namespace(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.holder.id())
    }

    /// Runs a program on this host to its end.
    fn run(&self, arguments: &[&str], input: &str) -> Outcome {
        let namespace = self.namespace();
        let arguments = [&[namespace.as_str()], arguments].concat();
        run("nsenter", arguments, input.as_bytes())
    }

    /// Runs lines of a shell that must all succeed.
    fn shell(&self, lines: &str) {
        self.run(&["sh", "-e"], lines).ok();
    }

    /// Starts a server on this host.
    fn serve(&self, name: &'static str, arguments: &[&str], log: &Path) -> Server {
        let mut command = Command::new("nsenter");
        command.arg(self.namespace()).args(arguments);
        Server::start(name, &mut command, log)
    }
}

/// Whether networks of their own can be made here: root in a container often may not.
fn has_namespaces() -> bool {
    run("unshare", ["--net", "true"], b"").status.success()
}

/// Client and server on either side of the proxy, which is the server's way to everybody.
fn connect(client: &Host, proxy: &Host, server: &Host) {
    let (at_client, at_server) = (client.holder.id(), server.holder.id());
    proxy.shell(&format!(
        "ip link add name clients type veth peer name proxy netns {at_client}
         ip link add name servers type veth peer name proxy netns {at_server}"
    ));
    for [of_client, to_clients, to_servers, of_server] in ADDRESSES {
        let (bits, more) = if of_client.contains(':') {
            (64, "nodad")
        } else {
            (24, "")
        };
        let add = |address: &str, device: &str| {
            format!(
                "ip address add {address}/{bits} dev {device} {more}; ip link set {device} up\n"
            )
        };
        proxy.shell(&(add(to_clients, "clients") + &add(to_servers, "servers")));
        client.shell(&add(of_client, "proxy"));
        server
            .shell(&(add(of_server, "proxy") + &format!("ip route add default via {to_servers}")));
    }
}

/// The lines of the manual's section on this, from the one that begins so to the end of the block.
fn manual(start: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = fs::read_to_string(file).unwrap();
    let (_, section) = text
        .split_once("\n### Any server with `transparent`\n")
        .unwrap();
    let lines = section.lines().map(str::trim);
    let block = lines
        .skip_while(|line| !line.starts_with(start))
        .take_while(|line| *line != "```");
    let block = block.collect::<Vec<_>>().join("\n");
    assert!(!block.is_empty(), "no {start} in the manual");
    block
}

#[test]
fn a_host_that_is_set_up_as_the_manual_says_connects_from_the_clients_own_address() {
    if !has_namespaces() {
        let why = "not shown here: this host lets nobody make a network namespace (unshare --net)";
        drop(writeln!(std::io::stderr(), "{why}"));
        return;
    }
    let folder = crate::common::folder();
    let [client, proxy, server] =
        ["client", "proxy", "server"].map(|name| Host::start(folder.path(), name));
    connect(&client, &proxy, &server);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/peer.py");
    let servers = ADDRESSES.map(|[.., address]| {
        let arguments = ["python3", script.to_str().unwrap(), address, "143"];
        let log = folder.path().join(address);
        let server = server.serve("peer.py", &arguments, &log);
        server.logged(&["listening"]);
        server
    });

    let services = ADDRESSES.map(|[_, to_clients, _, of_server]| {
        let address = |ip: &str, port: u16| match ip.contains(':') {
            true => format!("[{ip}]:{port}"),
            false => format!("{ip}:{port}"),
        };
        listener(to_clients, "imap", "implicit", of_server)
            .replace("127.0.0.1:0", &address(to_clients, 993))
            + &upstream(of_server, address(of_server, 143), "transparent")
            + "health_interval = \"0s\"\n"
    });
    let site = Site::new(&TestCa::today(), &[], &services.concat());
    let config = site.path("proxy.toml").display().to_string();
    let check = || {
        let outcome = proxy.run(&[PROGRAM, "check", "--config", &config], "");
        outcome.stdout + &outcome.stderr
    };
    let before = check();
    assert!(before.contains("warning: transparent: "), "{before}");

    proxy.shell(&manual("ip rule add"));
    fs::write(site.path("rules"), manual("table inet gatepost")).unwrap();
    let rules = site.path("rules").display().to_string();
    proxy.run(&["nft", "-f", &rules], "").ok();
    let after = check();
    assert!(!after.contains("warning"), "{after}");

    let arguments = [PROGRAM, "run", "--config", &config];
    let gatepost = proxy.serve("gatepost", &arguments, &site.path("log"));
    gatepost.logged(&["\"message\":\"started\""]);
    for [of_client, to_clients, ..] in ADDRESSES {
        let port = "993";
        let arguments = [
            "openssl", "s_client", "-quiet", "-host", to_clients, "-port", port,
        ];
        let session = client.run(&arguments, "a LOGOUT\r\n");
        let greeting = format!("you are {of_client}");
        assert!(session.stdout.contains(&greeting), "{session:#?}");
    }
    drop(servers);
}
