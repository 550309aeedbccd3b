//! The certificate dialogs, each in the three ways in which it can be had: commands on the folder,
//! commands to the running proxy, and the admin API.

mod durable;
mod life;
mod view;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::ca::TestCa;
use crate::common::gatepost::{Gatepost, Site};
use crate::common::process::{Outcome, run};

/// One listener; its upstream is never connected to.
const LISTENER: &str = r#"
[[listener]]
name = "tcp"
bind = ["127.0.0.1:0"]
protocol = "tcp"
tls = "implicit"
upstream = "nobody"
[[upstream]]
name = "nobody"
servers = ["127.0.0.1:9"]
"#;

/// Whom a dialog is had with.
enum Desk {
    /// Commands, and no proxy.
    Folder(Site),
    /// Commands, and the proxy that runs.
    Proxy(Gatepost),
    /// `curl` and the proxy that runs.
    Api(Gatepost),
}

impl Desk {
    /// The three ways, each with a folder of its own that holds one certificate.
    fn all(ca: &TestCa, trusted: &str) -> [(&'static str, Self); 3] {
        let site = || {
            let server = ca.leaf(&["server.test"]).issue();
            let site = Site::new(ca, &[("server", &server)], LISTENER);
            fs::write(site.path("root.pem"), trusted).unwrap();
            site
        };
        [
            ("on the folder", Self::Folder(site())),
            ("by commands", Self::Proxy(site().start())),
            ("by the API", Self::Api(site().start())),
        ]
    }

    fn site(&self) -> &Site {
        match self {
            Self::Folder(site) => site,
            Self::Proxy(gatepost) | Self::Api(gatepost) => &gatepost.site,
        }
    }

    /// A file in the certificate folder.
    fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.site().path("sslcert").join(name)).unwrap()
    }

    fn has(&self, name: &str) -> bool {
        self.site().path("sslcert").join(name).exists()
    }

    /// The proxy that serves what was done, started now if need be.
    fn served(self) -> Gatepost {
        match self {
            Self::Folder(site) => site.start(),
            Self::Proxy(gatepost) | Self::Api(gatepost) => gatepost,
        }
    }

    fn command(&self, arguments: &[&str]) -> Outcome {
        self.site().command(arguments)
    }

    /// Asks the API, or says in a command what it would be asked. The command's answer is put into
    /// the same form.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, document: &Value, arguments: &[&str]) -> String {
        match self {
            Self::Folder(_) | Self::Proxy(_) => self.command(arguments).ok(),
            Self::Api(gatepost) => {
                let answer = call(gatepost, method, path, document);
                assert!(answer.0 < 300, "{method} {path}: {answer:?}");
                answer.1
            }
        }
    }

    /// The NAME of what was made.
    #[track_caller]
    fn named(&self, path: &str, document: &Value, arguments: &[&str]) -> String {
        let answer = self.ask("POST", path, document, arguments);
        match self {
            Self::Folder(_) | Self::Proxy(_) => answer.trim_end().to_owned(),
            Self::Api(_) => {
                let answer: Value = serde_json::from_str(&answer).unwrap();
                answer["name"].as_str().unwrap().to_owned()
            }
        }
    }

    #[track_caller]
    fn request(&self, document: &Value) -> String {
        let options = options(document);
        let arguments = [vec!["cert", "request"], borrowed(&options)].concat();
        self.named("/v1/requests", document, &arguments)
    }

    #[track_caller]
    fn new_certificate(&self, document: &Value) -> String {
        let options = options(document);
        let arguments = [vec!["cert", "new"], borrowed(&options)].concat();
        self.named("/v1/certificates", document, &arguments)
    }

    /// Takes a CA's answer from a file of the site.
    #[track_caller]
    fn import_signed(&self, file: &Path) -> String {
        let bytes = fs::read(file).unwrap();
        let document = match String::from_utf8(bytes) {
            Ok(pem) => json!({"certificate_pem": pem}),
            Err(der) => {
                let der = data_encoding::BASE64.encode(der.as_bytes());
                json!({"der_base64": der})
            }
        };
        let arguments = ["cert", "import-signed", file.to_str().unwrap()];
        self.named("/v1/import-signed", &document, &arguments)
    }

    #[track_caller]
    fn export(&self, name: &str, part: &str) -> String {
        let path = format!("/v1/certificates/{name}/{part}");
        let option = format!("--{part}");
        let arguments = ["cert", "export", name, &option, "-o", "-"];
        self.ask("GET", &path, &Value::Null, &arguments)
    }

    #[track_caller]
    fn show(&self, name: &str) -> Value {
        let path = format!("/v1/certificates/{name}");
        let arguments = ["cert", "show", name, "--json"];
        let text = self.ask("GET", &path, &Value::Null, &arguments);
        serde_json::from_str(&text).unwrap()
    }

    /// "NAME kind", a line each.
    #[track_caller]
    fn list(&self) -> Vec<String> {
        let arguments = ["cert", "list", "--json"];
        let text = self.ask("GET", "/v1/certificates", &Value::Null, &arguments);
        let document: Value = serde_json::from_str(&text).unwrap();
        let entries = document["certificates"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        entries
            .map(|entry| format!("{} {}", text(&entry["name"]), text(&entry["kind"])))
            .collect()
    }
}

/// Status and body of what the admin API answers.
fn call(gatepost: &Gatepost, method: &str, path: &str, document: &Value) -> (u16, String) {
    let socket = gatepost.site.path("gatepost.sock");
    let url = format!("http://gatepost{path}");
    let mut arguments = vec!["--silent", "--show-error", "--unix-socket"];
    arguments.extend([socket.to_str().unwrap(), "--request", method]);
    arguments.extend(["--write-out", "\n%{http_code}", &url]);
    let body = document.to_string();
    if !document.is_null() {
        arguments.extend(["--data", &body]);
    }
    let answer = run("curl", arguments, b"").ok();
    let (body, status) = answer.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

/// The options that say what a document says.
fn options(document: &Value) -> Vec<String> {
    let mut options = Vec::new();
    for (field, value) in document.as_object().unwrap() {
        let option = match field.as_str() {
            "hostnames" => "--hostname".to_owned(),
            field => format!("--{}", field.replace('_', "-")),
        };
        let values = match value {
            Value::Array(values) => values.clone(),
            value => vec![value.clone()],
        };
        for value in values {
            options.push(option.clone());
            options.push(match value {
                Value::String(text) => text,
                other => other.to_string(),
            });
        }
    }
    options
}

fn borrowed(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// What `openssl` prints.
#[track_caller]
fn openssl(arguments: &[&str], input: &str) -> String {
    run("openssl", arguments, input.as_bytes()).ok()
}
