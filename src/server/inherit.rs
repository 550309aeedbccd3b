//! Listening sockets that systemd hands over (`sd_listen_fds(3)`), found by their address.

use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

/// Sockets that nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Inherited(Vec<(SocketAddr, TcpListener)>);

impl Inherited {
    /// Takes over what the environment names; what is no TCP socket is left alone.
    pub(super) fn from_environment() -> Self {
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for n in 0..passed.len() {
            let Ok(Some(socket)) = passed.take_tcp_listener(n) else {
                tracing::warn!(number = n, "a socket handed over is not a TCP one");
                continue;
            };
            match socket.local_addr() {
                Ok(address) => sockets.push((address, socket)),
                Err(error) => {
                    tracing::warn!(number = n, %error, "a socket handed over has no address")
                }
            }
        }
        Self(sockets)
    }

    /// The socket that is bound to `address`, if one was handed over.
    pub(super) fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let found = self.0.iter().position(|(bound, _)| *bound == address)?;
        Some(self.0.swap_remove(found).1)
    }

    /// Says which sockets no listener asked for.
    pub(super) fn report_unused(&self) {
        for (address, _) in &self.0 {
            tracing::warn!(%address, "no listener is bound to this address, for which a socket was handed over");
        }
    }
}
