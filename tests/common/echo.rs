//! An upstream that says again what it is told, until its client says no more.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Starts it on a free port of loopback. It goes on for as long as the test process does.
pub(crate) fn start() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || echo(&stream));
        }
    });
    address
}

fn echo(stream: &TcpStream) {
    // How a client goes is its own affair.
    drop(io::copy(&mut &*stream, &mut &*stream));
}
