//! The command line's end of the admin API.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::admin::{api, uri};

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
    /// The proxy says no, and why.
    #[error("{}", .0.detail)]
    Refused(api::ProblemDetails),
}

/// A connection to the admin socket.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    sender: SendRequest<Full<Bytes>>,
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
        match http1::handshake(TokioIo::new(stream)).await {
            Ok((sender, connection)) => {
                // Its error is the request's error too.
                tokio::spawn(connection);
                Ok(Self { path, sender })
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

    /// Removes a certificate; the default one only if `force` is set.
    pub async fn remove(&mut self, name: &str, force: bool) -> Result<(), ClientError> {
        let path = format!("{}?force={force}", certificate_path(name));
        let (status, body) = self.exchange(Method::DELETE, &path, Bytes::new()).await?;
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

    /// Has the process drained and ended.
    pub async fn stop(&mut self) -> Result<api::Drained, ClientError> {
        self.send(Method::POST, "/v1/stop", None::<&()>).await
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

fn certificate_path(name: &str) -> String {
    format!("/v1/certificates/{}", uri::encode(name))
}
