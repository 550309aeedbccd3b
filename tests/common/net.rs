//! Loopback addresses: one for each server that cannot choose a free port by itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where clients come from whose address is to be found again in a server's log.
pub(crate) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// An address in 127/8 that no other test uses while this value lives: all its ports are free.
#[derive(Debug)]
pub(crate) struct Loopback {
    address: Ipv4Addr,
    _claim: TcpListener,
}

impl Loopback {
    /// Whoever listens on this port of an address owns the address.
    const CLAIM: u16 = 19_019;

    pub(crate) fn claim() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            // Test processes start at different places; what is taken all the same is passed over.
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let host = process::id().wrapping_mul(977).wrapping_add(step);
            let [_, a, b, c] = host.to_be_bytes();
            let address = Ipv4Addr::new(127, a | 1, b, c.clamp(1, 254));
            if let Ok(claim) = TcpListener::bind((address, Self::CLAIM)) {
                return Self {
                    address,
                    _claim: claim,
                };
            }
        }
    }

    pub(crate) fn ip(&self) -> IpAddr {
        IpAddr::V4(self.address)
    }

    pub(crate) fn port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(), port)
    }
}
