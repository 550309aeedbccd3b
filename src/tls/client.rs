//! stub
use crate::config;
use crate::time::Clock;
use tokio::io::{AsyncRead, AsyncWrite};
/// x
#[derive(Debug)]
pub struct ClientTls;
/// x
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct ClientTlsError;
/// x
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct UpstreamTlsError;
impl UpstreamTlsError {
    /// x
    pub fn reason(&self) -> &'static str {
        "tls"
    }
}
impl ClientTls {
    /// x
    pub fn new(_: &config::Upstream, _: Clock) -> Result<Self, ClientTlsError> {
        Ok(Self)
    }
    /// x
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        _h: &str,
        _s: S,
    ) -> Result<tokio_rustls::client::TlsStream<S>, UpstreamTlsError> {
        Err(UpstreamTlsError)
    }
}
