//! A real nginx, as the web server behind.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::ca::Pair;
use super::net::Loopback;
use super::process::Server;

const PLAIN: u16 = 10_080;
const HEADER: u16 = 10_081;
const TLS: u16 = 10_443;

/// It has a folder of pages, and tells what it was told.
pub(crate) struct Nginx {
    pub(crate) server: Server,
    home: Loopback,
    folder: TempDir,
}

impl Nginx {
    /// Starts it and returns when it listens. `pair`: its own certificate.
    pub(crate) fn start(pair: &Pair) -> Self {
        let folder = super::folder();
        let home = Loopback::claim();
        let at = folder.path();
        for name in ["www", "uploads", "temporary"] {
            fs::create_dir(at.join(name)).unwrap();
        }
        pair.write(at, "own");
        let file = at.join("nginx.conf");
        fs::write(&file, configuration(at.to_str().unwrap(), &home)).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(at).arg("-c").arg(&file);
        let server = Server::start("nginx", &mut command, &at.join("log"));
        let mut nginx = Self {
            server,
            home,
            folder,
        };
        nginx.server.listens(nginx.plain());
        nginx
    }

    /// Where it speaks in clear.
    pub(crate) fn plain(&self) -> SocketAddr {
        self.home.port(PLAIN)
    }

    /// Where it demands a PROXY header.
    pub(crate) fn behind_header(&self) -> SocketAddr {
        self.home.port(HEADER)
    }

    /// Where it speaks TLS.
    pub(crate) fn tls(&self) -> SocketAddr {
        self.home.port(TLS)
    }

    /// Its Unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path("socket")
    }

    /// A file of its folder: pages are in `www`, what is sent goes to `uploads`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The lines of its access log.
    pub(crate) fn accessed(&self) -> String {
        fs::read_to_string(self.path("access")).unwrap_or_default()
    }
}

fn configuration(at: &str, home: &Loopback) -> String {
    let user = match rustix::process::geteuid().is_root() {
        // Its workers write where we do.
        true => "user root;",
        false => "",
    };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {at}/temporary/{kind};"))
        .join("\n");
    let (plain, header, tls) = (home.port(PLAIN), home.port(HEADER), home.port(TLS));
    format!(
        r#"
{user}
daemon off;
worker_processes 1;
pid {at}/pid;
error_log {at}/log info;
events {{ worker_connections 256; }}
http {{
    log_format told '$remote_addr $connection $request_method $request_uri $status $http_x_request_id';
    access_log {at}/access told;
    {temporary}
    client_max_body_size 0;
    keepalive_requests 100000;
    add_header X-Connection $connection always;
    server {{
        listen {plain};
        listen {header} proxy_protocol;
        listen {tls} ssl;
        listen unix:{at}/socket;
        ssl_certificate {at}/own.crt;
        ssl_certificate_key {at}/own.key;
        root {at}/www;
        location /told {{
            default_type text/plain;
            return 200 "host=$http_host\nfor=$http_x_forwarded_for\nproto=$http_x_forwarded_proto\nreal=$http_x_real_ip\nforwarded=$http_forwarded\nvia=$http_via\nid=$http_x_request_id\nclient=$proxy_protocol_addr\nrequest=$request\nscheme=$scheme\nname=$ssl_server_name\n";
        }}
        location /read {{ proxy_pass http://unix:{at}/inner; }}
        location /uploads/ {{ dav_methods PUT DELETE; root {at}; }}
        location /early {{ return 413; }}
        location /nothing {{ return 204; }}
    }}
    # It gets what the other one has read to its end.
    server {{
        listen unix:{at}/inner;
        access_log off;
        location / {{ return 200 "read\n"; }}
    }}
}}
"#
    )
}
