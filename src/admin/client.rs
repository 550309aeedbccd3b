//! The command line's end of the admin API.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::admin::{api, uri};
use crate::store::Part;

/// Largest document that is read: a list of a hundred thousand certificates is smaller.
const MAX_DOCUMENT: usize = 256 * 1024 * 1024;

/// Why the proxy did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No socket, or one that nobody answers.
    #[error("no proxy listens at {}", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is a socket, and it cannot be used.
    #[error("cannot connect to {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke before the answer was there.
    #[error("the proxy at {} did not answer", path.display())]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is not one of the admin API's.
    #[error("the answer of {} (status {status}) is not what was expected", path.display())]
    BadAnswer {
        /// The socket.
        path: PathBuf,
        /// Its status.
        status: u16,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It has stopped, and this process cannot see when it is gone.
    #[error("the proxy at {} has stopped, but its process cannot be seen from here to wait for its end", path.display())]
    Unseen {
        /// The socket.
        path: PathBuf,
    },
    /// It has stopped, and its process does not end.
    #[error("the proxy at {} has stopped, but its process has not ended within {patience:?}", path.display())]
    NotEnded {
        /// The socket.
        path: PathBuf,
        /// How long it was waited for.
        patience: Duration,
    },
    /// The proxy says no, and why.
    #[error("{}", .0.detail)]
    Refused(api::ProblemDetails),
}

/// A connection to the admin socket.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    sender: SendRequest<Full<Bytes>>,
    /// The process that listens, if it can be seen from here.
    process: Option<OwnedFd>,
}

impl Client {
    /// Connects to the socket.
    pub async fn connect(path: &Path) -> Result<Self, ClientError> {
        let path = path.to_owned();
        let stream = match UnixStream::connect(&path).await {
            Ok(stream) => stream,
            Err(source) => {
                let nobody = [ErrorKind::NotFound, ErrorKind::ConnectionRefused];
                return Err(if nobody.contains(&source.kind()) {
                    ClientError::NotRunning { path, source }
                } else {
                    ClientError::Connect { path, source }
                });
            }
        };
        let process = process(&stream);
        match http1::handshake(TokioIo::new(stream)).await {
            Ok((sender, connection)) => {
                // Its error is the request's error too.
                tokio::spawn(connection);
                Ok(Self {
                    path,
                    sender,
                    process,
                })
            }
            Err(error) => Err(ClientError::NoAnswer {
                path,
                source: error.into(),
            }),
        }
    }

    /// What listeners and upstreams are doing.
    pub async fn status(&mut self) -> Result<api::Status, ClientError> {
        self.get("/v1/status").await
    }

    /// Everything in the certificate folder.
    pub async fn certificates(&mut self) -> Result<api::Certificates, ClientError> {
        self.get("/v1/certificates").await
    }

    /// All that is known of one certificate.
    pub async fn certificate(
        &mut self,
        name: &str,
    ) -> Result<api::CertificateDetails, ClientError> {
        self.get(&certificate_path(name)).await
    }

    /// What a handshake would be served, and why.
    pub async fn explain(&mut self, asked: &api::Explain) -> Result<api::Explanation, ClientError> {
        let fields = [
            ("host", &asked.host),
            ("listener", &asked.listener),
            ("client", &asked.client),
            ("at", &asked.at),
        ];
        let given = fields
            .into_iter()
            .filter_map(|(key, value)| Some(format!("{key}={}", uri::encode(value.as_ref()?))));
        let query: Vec<_> = given.collect();
        self.get(&format!("/v1/explain?{}", query.join("&"))).await
    }

    /// Takes a certificate and its key.
    pub async fn import(&mut self, import: &api::Import) -> Result<api::Imported, ClientError> {
        self.send(Method::POST, "/v1/import", Some(import)).await
    }

    /// Makes a key and a self-signed certificate.
    pub async fn create(&mut self, new: &api::New) -> Result<api::Name, ClientError> {
        self.send(Method::POST, "/v1/certificates", Some(new)).await
    }

    /// Makes a certificate request, and its key unless one is kept.
    pub async fn request(&mut self, new: &api::NewRequest) -> Result<api::Imported, ClientError> {
        self.send(Method::POST, "/v1/requests", Some(new)).await
    }

    /// Takes a CA's answer to a request that waits.
    pub async fn import_signed(
        &mut self,
        answer: &api::ImportSigned,
    ) -> Result<api::Imported, ClientError> {
        let path = "/v1/import-signed";
        self.send(Method::POST, path, Some(answer)).await
    }

    /// PEM text of a part of a NAME. A key is the caller's to keep secret.
    pub async fn export(&mut self, name: &str, part: Part) -> Result<String, ClientError> {
        let path = format!("{}/{}", certificate_path(name), part.as_str());
        let (status, body) = self.exchange(Method::GET, &path, Bytes::new()).await?;
        if !status.is_success() {
            return Err(self.refused(status, &body));
        }
        let text = String::from_utf8(body.into());
        text.map_err(|_| {
            let not_text = serde::de::Error::custom("not text");
            self.bad_answer(status, not_text)
        })
    }

    /// Removes a certificate; the default one only if `force` is set.
    pub async fn remove(&mut self, name: &str, force: bool) -> Result<(), ClientError> {
        let path = format!("{}?force={force}", certificate_path(name));
        self.delete(&path).await
    }

    /// Gives up the request that waits under a NAME; its certificate stays.
    pub async fn remove_request(&mut self, name: &str) -> Result<(), ClientError> {
        let path = format!("{}/{}", certificate_path(name), Part::Request.as_str());
        self.delete(&path).await
    }

    async fn delete(&mut self, path: &str) -> Result<(), ClientError> {
        let (status, body) = self.exchange(Method::DELETE, path, Bytes::new()).await?;
        if status.is_success() {
            return Ok(());
        }
        Err(self.refused(status, &body))
    }

    /// NAME of the default certificate.
    pub async fn default_certificate(&mut self) -> Result<api::DefaultCertificate, ClientError> {
        self.get("/v1/default").await
    }

    /// Makes a certificate the default one.
    pub async fn set_default(&mut self, name: &str) -> Result<api::Name, ClientError> {
        let name = api::Name {
            name: name.to_owned(),
        };
        self.send(Method::PUT, "/v1/default", Some(&name)).await
    }

    /// Has the configuration read again.
    pub async fn reload(&mut self) -> Result<api::Reloaded, ClientError> {
        self.send(Method::POST, "/v1/reload", None::<&()>).await
    }

    /// Has accepting stopped, and waits for open connections.
    pub async fn drain(&mut self) -> Result<api::Drained, ClientError> {
        self.send(Method::POST, "/v1/drain", None::<&()>).await
    }

    /// Has the process drained and ended; it answers with its last breath, and
    /// [`Client::ended`] waits for the rest.
    pub async fn stop(&mut self) -> Result<api::Drained, ClientError> {
        self.send(Method::POST, "/v1/stop", None::<&()>).await
    }

    /// Waits for the end of the proxy's process: only then are its sockets and its lock free.
    /// Blocks, as there is nothing else to be done meanwhile.
    pub fn ended(&self, patience: Duration) -> Result<(), ClientError> {
        let path = || self.path.clone();
        let unseen = || ClientError::Unseen { path: path() };
        let process = self.process.as_ref().ok_or_else(unseen)?;
        let timeout = Timespec::try_from(patience).map_err(|_| unseen())?;
        let ready = retry_on_intr(|| {
            let process = PollFd::new(process, PollFlags::IN);
            poll(&mut [process], Some(&timeout))
        });
        match ready {
            Ok(0) => Err(ClientError::NotEnded {
                path: path(),
                patience,
            }),
            Ok(_) => Ok(()),
            Err(_) => Err(unseen()),
        }
    }

    async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        self.send(Method::GET, path, None::<&()>).await
    }

    async fn send<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        document: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let body = match document {
            Some(document) => serde_json::to_vec(document).expect("documents have text keys only"),
            None => Vec::new(),
        };
        let (status, body) = self.exchange(method, path, body.into()).await?;
        if !status.is_success() {
            return Err(self.refused(status, &body));
        }
        serde_json::from_slice(&body).map_err(|error| self.bad_answer(status, error))
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "gatepost")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .expect("paths are made of constants and encoded text");
        let path = self.path.clone();
        let no_answer = |source| ClientError::NoAnswer { path, source };
        match self.answer(request).await {
            Ok(answer) => Ok(answer),
            Err(source) => Err(no_answer(source)),
        }
    }

    async fn answer(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_DOCUMENT)
            .collect()
            .await?;
        Ok((status, body.to_bytes()))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> ClientError {
        match serde_json::from_slice(body) {
            Ok(problem) => ClientError::Refused(problem),
            Err(error) => self.bad_answer(status, error),
        }
    }

    fn bad_answer(&self, status: StatusCode, source: serde_json::Error) -> ClientError {
        ClientError::BadAnswer {
            path: self.path.clone(),
            status: status.as_u16(),
            source,
        }
    }
}

/// The process that listens. It is looked up while it is sure to be there: the id of one that
/// has ended may be another's.
fn process(stream: &UnixStream) -> Option<OwnedFd> {
    let pid = Pid::from_raw(stream.peer_cred().ok()?.pid()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

fn certificate_path(name: &str) -> String {
    format!("/v1/certificates/{}", uri::encode(name))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixListener;
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::admin::fixture::{Fixture, pair};
    use crate::admin::{Command, bind, serve};

    fn proxy(fixture: &Fixture) -> (PathBuf, crate::admin::SocketGuard) {
        let path = fixture.folder.path().join("gatepost.sock");
        let (listener, guard) = bind(&path, 0o600).unwrap();
        let (sender, mut commands) = mpsc::channel(1);
        tokio::spawn(serve(
            listener,
            fixture.context.clone(),
            sender,
            CancellationToken::new(),
        ));
        tokio::spawn(async move {
            while let Some(command) = commands.recv().await {
                match command {
                    Command::Reload(answer) => answer.send(Err("no".to_owned())).unwrap(),
                    Command::Drain(answer) | Command::Stop(answer) => {
                        answer.send(api::Drained { cut_off: 1 }).unwrap();
                    }
                    Command::Status(answer) => drop(answer),
                }
            }
        });
        (path, guard)
    }

    #[tokio::test]
    async fn both_ends_understand_each_other() {
        let fixture = Fixture::new();
        let (path, _guard) = proxy(&fixture);
        let mut client = Client::connect(&path).await.unwrap();
        let (certificate, key) = pair("mail.example.com");
        let import = api::Import {
            certificate_pem: Some(certificate),
            key_pem: Some(key),
            ..api::Import::default()
        };
        assert_eq!(
            client.import(&import).await.unwrap().name,
            "mail.example.com"
        );
        let new = api::New {
            hostnames: vec!["bücher.example".to_owned()],
            country: "DE".to_owned(),
            name: Some("books".to_owned()),
            ..api::New::default()
        };
        assert_eq!(client.create(&new).await.unwrap().name, "books");
        let list = client.certificates().await.unwrap();
        assert_eq!(list, fixture.context.list());
        assert_eq!(list.certificates.len(), 3);
        let shown = client.certificate("books").await.unwrap();
        assert_eq!(shown, fixture.context.show("books").unwrap());
        let asked = api::Explain {
            host: Some("Bücher.example".to_owned()),
            at: Some("2026-11-22T10:00:00+01:00".to_owned()),
            ..api::Explain::default()
        };
        let explanation = client.explain(&asked).await.unwrap();
        assert_eq!(explanation.winner.as_ref().unwrap().name, "books");
        assert_eq!(explanation.at.to_string(), "2026-11-22T09:00:00Z");
        assert_eq!(client.set_default("books").await.unwrap().name, "books");
        let default = client.default_certificate().await.unwrap();
        assert_eq!(default.name.as_deref(), Some("books"));
        client.remove("mail.example.com", false).await.unwrap();
        client.remove("books", true).await.unwrap();
        assert_eq!(client.drain().await.unwrap().cut_off, 1);
        assert_eq!(client.stop().await.unwrap().cut_off, 1);
    }

    #[tokio::test]
    async fn a_process_that_does_not_end_is_not_waited_for_without_end() {
        let fixture = Fixture::new();
        let (path, _guard) = proxy(&fixture);
        let mut client = Client::connect(&path).await.unwrap();
        client.stop().await.unwrap();
        let patience = Duration::from_millis(1);
        let error = client.ended(patience).unwrap_err().to_string();
        let expected = format!(
            "the proxy at {} has stopped, but its process has not ended within 1ms",
            path.display()
        );
        assert_eq!(error, expected);
    }

    #[tokio::test]
    async fn a_refusal_says_why() {
        let fixture = Fixture::new();
        let (path, _guard) = proxy(&fixture);
        let mut client = Client::connect(&path).await.unwrap();
        let refused = |result: Result<(), ClientError>| match result.unwrap_err() {
            ClientError::Refused(problem) => (problem.status, problem.detail),
            error => panic!("{error}"),
        };
        let (status, detail) = refused(client.remove("a/../b ?&", false).await);
        assert_eq!(status, 404);
        assert_eq!(detail, "no certificate \"a/../b ?&\" (known: server)");
        let (status, detail) = refused(client.reload().await.map(drop));
        assert_eq!((status, detail.as_str()), (422, "no"));
        assert_eq!(refused(client.status().await.map(drop)).0, 503);
    }

    #[tokio::test]
    async fn nobody_there_is_told_from_other_failures() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let stale = folder.path().join("stale");
        drop(UnixListener::bind(&stale).unwrap());
        for path in [missing, stale] {
            let error = Client::connect(&path).await.unwrap_err();
            assert!(matches!(error, ClientError::NotRunning { .. }), "{error}");
            let expected = format!("no proxy listens at {}", path.display());
            assert_eq!(error.to_string(), expected);
        }
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let below = Client::connect(&file.join("s")).await.unwrap_err();
        assert!(matches!(below, ClientError::Connect { .. }), "{below}");
    }

    #[tokio::test]
    async fn strangers_at_the_socket_are_no_proxy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
                // Until the other end has had enough.
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            }
        });
        let mut client = Client::connect(&path).await.unwrap();
        let error = client.status().await.unwrap_err();
        assert!(matches!(error, ClientError::NoAnswer { .. }), "{error}");
        drop(client);
        let mut client = Client::connect(&path).await.unwrap();
        let error = client.status().await.unwrap_err();
        assert!(
            matches!(
                error,
                ClientError::BadAnswer { .. } | ClientError::NoAnswer { .. }
            ),
            "{error}"
        );
    }
}
