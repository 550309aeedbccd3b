//! The server's end of the admin API: requests in, documents or problems (RFC 9457) out.
//!
//! Knows HTTP; what the documents say is for `service`, and what listeners and upstreams do is
//! asked of whoever takes the [`Command`]s.

use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixListener;
use tokio::net::unix::UCred;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::admin::http::{self, Answer, Connections, READ_TIMEOUT};
use crate::admin::service::ServiceError;
use crate::admin::{Context, api, uri};
use crate::cert::MAX_INPUT;
use crate::store::Part;

const CONNECTIONS: usize = 64;

/// Longer than any `drain_timeout` that makes sense; the socket's owner may wait.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Largest body: room for the largest file that is read ([`MAX_INPUT`]), in base64 or as text, and
/// for a key beside it.
const MAX_BODY: usize = 3 * MAX_INPUT;

const JSON: &str = "application/json";
const PROBLEM_JSON: &str = "application/problem+json";
/// RFC 8555 section 9.1.
const PEM_CHAIN: &str = "application/pem-certificate-chain";
const PEM_FILE: &str = "application/x-pem-file";

/// What is asked of whoever runs the listeners. The answer is sent when it is done.
#[derive(Debug)]
pub enum Command {
    /// What are listeners and upstreams doing?
    Status(oneshot::Sender<api::Status>),
    /// Read the configuration again; the error is for people, one line a cause.
    Reload(oneshot::Sender<Result<api::Reloaded, String>>),
    /// Stop accepting, and wait for open connections.
    Drain(oneshot::Sender<api::Drained>),
    /// Drain, and end the process.
    Stop(oneshot::Sender<api::Drained>),
}

/// Serves the admin API until `shutdown`; answers under way are still written.
pub async fn serve(
    listener: UnixListener,
    context: Context,
    commands: mpsc::Sender<Command>,
    shutdown: CancellationToken,
) {
    let connections = Connections::new(CONNECTIONS, LIFETIME, shutdown);
    while let Some(place) = connections.place().await {
        let Some((stream, _)) = connections.accept(listener.accept()).await else {
            continue;
        };
        let session = Session {
            context: context.clone(),
            commands: commands.clone(),
            peer: stream.peer_cred().ok(),
        };
        connections.serve(place, stream, move |request| {
            session.clone().answer(request)
        });
    }
    connections.finish().await;
}

/// What a path names.
#[derive(Debug, Eq, PartialEq)]
enum Resource {
    Status,
    Certificates,
    Certificate(String),
    Part(String, Part),
    Requests,
    Import,
    ImportSigned,
    Default,
    Explain,
    Reload,
    Drain,
    Stop,
}

impl Resource {
    fn at(path: &str) -> Option<Self> {
        let path: Vec<_> = path.strip_prefix("/v1/")?.split('/').collect();
        Some(match *path.as_slice() {
            ["status"] => Self::Status,
            ["certificates"] => Self::Certificates,
            ["certificates", name] => Self::Certificate(uri::decode(name)?),
            ["certificates", name, part] => {
                let mut parts = Part::ALL.into_iter();
                let part = parts.find(|known| known.as_str() == part)?;
                Self::Part(uri::decode(name)?, part)
            }
            ["requests"] => Self::Requests,
            ["import"] => Self::Import,
            ["import-signed"] => Self::ImportSigned,
            ["default"] => Self::Default,
            ["explain"] => Self::Explain,
            ["reload"] => Self::Reload,
            ["drain"] => Self::Drain,
            ["stop"] => Self::Stop,
            _ => return None,
        })
    }

    fn methods(&self) -> &'static [Method] {
        match self {
            Self::Part(_, Part::Request) | Self::Certificate(_) => &[Method::GET, Method::DELETE],
            Self::Status | Self::Part(..) | Self::Explain => &[Method::GET],
            Self::Certificates => &[Method::GET, Method::POST],
            Self::Default => &[Method::GET, Method::PUT],
            Self::Requests
            | Self::Import
            | Self::ImportSigned
            | Self::Reload
            | Self::Drain
            | Self::Stop => &[Method::POST],
        }
    }
}

/// Why a request is not answered with a document.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    detail: String,
    allow: Option<&'static [Method]>,
}

impl Refusal {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            allow: None,
        }
    }

    fn into_answer(self) -> Answer {
        let problem = api::ProblemDetails {
            r#type: "about:blank".to_owned(),
            title: self
                .status
                .canonical_reason()
                .unwrap_or_default()
                .to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
        };
        let answer = http::answer(self.status, PROBLEM_JSON, document(&problem));
        match self.allow {
            Some(methods) => http::allow(answer, methods),
            None => answer,
        }
    }
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        let status = StatusCode::from_u16(error.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(
                error = error.detail(),
                "a request of the admin socket failed"
            );
        }
        Self::new(status, error.detail())
    }
}

/// One client of the socket.
#[derive(Clone, Debug)]
struct Session {
    context: Context,
    commands: mpsc::Sender<Command>,
    peer: Option<UCred>,
}

impl Session {
    async fn answer(self, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let answer = self.route(&parts, body).await;
        answer.unwrap_or_else(Refusal::into_answer)
    }

    async fn route(&self, request: &Parts, body: Incoming) -> Result<Answer, Refusal> {
        let path = request.uri.path();
        let Some(resource) = Resource::at(path) else {
            let detail = format!("there is nothing at {path}");
            return Err(Refusal::new(StatusCode::NOT_FOUND, detail));
        };
        let methods = resource.methods();
        if !methods.contains(&request.method) {
            let detail = format!("{path} does not know {}", request.method);
            return Err(Refusal {
                allow: Some(methods),
                ..Refusal::new(StatusCode::METHOD_NOT_ALLOWED, detail)
            });
        }
        let query = request.uri.query().unwrap_or_default();
        if request.method == Method::GET {
            self.read(resource, query).await
        } else {
            let answer = self.change(resource, request, query, body).await;
            if let Err(refusal) = &answer {
                self.log_refused(request, refusal.status);
            }
            answer
        }
    }

    /// Without the reason, which may quote the request, and in that may be a key.
    fn log_refused(&self, request: &Parts, status: StatusCode) {
        let (uid, pid) = self.credentials();
        let (method, path, status) = (&request.method, request.uri.path(), status.as_u16());
        tracing::warn!(%method, path, status, uid, pid, "refused to the admin socket");
    }

    /// User and process of the client.
    fn credentials(&self) -> (Option<u32>, Option<i32>) {
        let peer = self.peer.as_ref();
        (peer.map(UCred::uid), peer.and_then(UCred::pid))
    }

    async fn read(&self, resource: Resource, query: &str) -> Result<Answer, Refusal> {
        match resource {
            Resource::Status => Ok(ok(&self.ask(Command::Status).await?)),
            Resource::Certificates => Ok(ok(&self.blocking(|context| Ok(context.list())).await?)),
            Resource::Certificate(name) => Ok(ok(&self
                .blocking(move |context| context.show(&name))
                .await?)),
            Resource::Default => Ok(ok(&self.context.default_certificate())),
            Resource::Explain => {
                let asked = explain_query(query)?;
                let explanation = self.blocking(move |context| context.explain(&asked));
                Ok(ok(&explanation.await?))
            }
            Resource::Part(name, part) => self.export(name, part).await,
            // No other resource knows GET.
            _ => Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "there is nothing to read",
            )),
        }
    }

    /// A part of a NAME as PEM. Whoever may connect may have the key, and it is logged who had it.
    async fn export(&self, name: String, part: Part) -> Result<Answer, Refusal> {
        let asked = name.clone();
        let exported = self.blocking(move |context| context.export(&name, part));
        let exported = exported.await;
        let (uid, pid) = self.credentials();
        if part == Part::Key {
            match &exported {
                Ok(_) => tracing::warn!(name = asked, uid, pid, "private key given out"),
                Err(refusal) => {
                    let status = refusal.status.as_u16();
                    tracing::warn!(
                        name = asked,
                        status,
                        uid,
                        pid,
                        "private key asked for, and not given out"
                    );
                }
            }
        }
        let content_type = match part {
            Part::Certificate | Part::Chain => PEM_CHAIN,
            Part::Request | Part::Key => PEM_FILE,
        };
        let mut answer = http::answer(StatusCode::OK, content_type, exported?.into_bytes());
        if part == Part::Key {
            let no_store = HeaderValue::from_static("no-store");
            answer.headers_mut().insert(CACHE_CONTROL, no_store);
        }
        Ok(answer)
    }

    async fn change(
        &self,
        resource: Resource,
        request: &Parts,
        query: &str,
        body: Incoming,
    ) -> Result<Answer, Refusal> {
        let (what, name, answer) = match resource {
            Resource::Requests => {
                let new: api::NewRequest = read_document(body).await?;
                let made = self.blocking(move |context| context.request(&new)).await?;
                let answer = created(&made.name, &made);
                ("certificate request made", Some(made.name), answer)
            }
            Resource::ImportSigned => {
                let signed: api::ImportSigned = read_document(body).await?;
                let imported = self
                    .blocking(move |context| context.import_signed(&signed))
                    .await?;
                let answer = ok(&imported);
                (
                    "certificate of a request imported",
                    Some(imported.name),
                    answer,
                )
            }
            Resource::Part(name, _) => {
                let removed = name.clone();
                self.blocking(move |context| context.remove_request(&removed))
                    .await?;
                ("certificate request removed", Some(name), no_content())
            }
            Resource::Import => {
                let import: api::Import = read_document(body).await?;
                let imported = self
                    .blocking(move |context| context.import(&import))
                    .await?;
                let answer = ok(&imported);
                ("certificate imported", Some(imported.name), answer)
            }
            Resource::Certificates => {
                let new: api::New = read_document(body).await?;
                let made = self.blocking(move |context| context.create(&new)).await?;
                let answer = created(&made.name, &made);
                ("certificate made", Some(made.name), answer)
            }
            Resource::Certificate(name) => {
                let force = force_query(query)?;
                let removed = name.clone();
                self.blocking(move |context| context.remove(&removed, force))
                    .await?;
                ("certificate removed", Some(name), no_content())
            }
            Resource::Default => {
                let chosen: api::Name = read_document(body).await?;
                let name = chosen.name.clone();
                self.blocking(move |context| context.set_default(&name))
                    .await?;
                (
                    "default certificate set",
                    Some(chosen.name.clone()),
                    ok(&chosen),
                )
            }
            Resource::Reload => {
                let reloaded = self.ask(Command::Reload).await?;
                let unprocessable = |error| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error);
                ("reload", None, ok(&reloaded.map_err(unprocessable)?))
            }
            Resource::Drain => ("drain", None, ok(&self.ask(Command::Drain).await?)),
            _ => ("stop", None, ok(&self.ask(Command::Stop).await?)),
        };
        let (uid, pid) = self.credentials();
        tracing::info!(what, name, uid, pid, method = %request.method, "changed by the admin socket");
        Ok(answer)
    }

    /// Runs what may block away from the runtime's threads; it runs to its end even if the
    /// client goes away.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Context) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let context = self.context.clone();
        let done = tokio::task::spawn_blocking(move || work(&context)).await;
        let panicked = |_| {
            Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "an internal error occurred",
            )
        };
        Ok(done.map_err(panicked)??)
    }

    /// Asks whoever runs the listeners.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Refusal> {
        let stopping = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the proxy is stopping");
        let (sender, answer) = oneshot::channel();
        let sent = self.commands.send(command(sender)).await;
        sent.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }
}

async fn read_document<T: DeserializeOwned>(body: Incoming) -> Result<T, Refusal> {
    let collected = timeout(READ_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await;
    let Ok(collected) = collected else {
        let detail = "the body did not come in time";
        return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, detail));
    };
    let body = collected.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let detail = format!("the body is larger than {MAX_BODY} bytes");
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
        } else {
            Refusal::new(StatusCode::BAD_REQUEST, "the body is not complete")
        }
    })?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| {
        let detail = format!("the body is not the document expected here: {error}");
        Refusal::new(StatusCode::BAD_REQUEST, detail)
    })
}

fn explain_query(query: &str) -> Result<api::Explain, Refusal> {
    let mut asked = api::Explain::default();
    for (key, value) in pairs(query)? {
        let field = match key.as_str() {
            "host" => &mut asked.host,
            "listener" => &mut asked.listener,
            "client" => &mut asked.client,
            "at" => &mut asked.at,
            _ => return Err(unknown_parameter(&key, "host, listener, client, at")),
        };
        *field = Some(value);
    }
    Ok(asked)
}

fn force_query(query: &str) -> Result<bool, Refusal> {
    let mut force = false;
    for (key, value) in pairs(query)? {
        match (key.as_str(), value.as_str()) {
            ("force", "true") => force = true,
            ("force", "false") => force = false,
            ("force", _) => {
                let detail = format!("force is {value:?}, expected true or false");
                return Err(Refusal::new(StatusCode::BAD_REQUEST, detail));
            }
            _ => return Err(unknown_parameter(&key, "force")),
        }
    }
    Ok(force)
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, Refusal> {
    uri::pairs(query).ok_or_else(|| {
        let detail = format!("{query:?} is not a query");
        Refusal::new(StatusCode::BAD_REQUEST, detail)
    })
}

fn unknown_parameter(key: &str, known: &str) -> Refusal {
    let detail = format!("unknown parameter {key:?}, expected one of {known}");
    Refusal::new(StatusCode::BAD_REQUEST, detail)
}

fn ok<T: Serialize>(value: &T) -> Answer {
    http::answer(StatusCode::OK, JSON, document(value))
}

fn no_content() -> Answer {
    http::answer(StatusCode::NO_CONTENT, JSON, Vec::new())
}

fn created<T: Serialize>(name: &str, made: &T) -> Answer {
    let mut answer = http::answer(StatusCode::CREATED, JSON, document(made));
    let location = format!("/v1/certificates/{}", uri::encode(name));
    let location = HeaderValue::try_from(location).expect("an encoded path is ASCII");
    answer.headers_mut().insert(LOCATION, location);
    answer
}

/// For people with curl as well: indented, and with an end of line.
fn document<T: Serialize>(value: &T) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("documents have text keys only");
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests;
