//! Upstreams that need no protocol: one that says again what it is told, and one that says its name.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Says again what it is told, until its client says no more.
pub(crate) fn start() -> SocketAddr {
    serve(|stream| {
        // How a client goes is its own affair.
        drop(io::copy(&mut &*stream, &mut &*stream));
    })
}

/// Says one line to everybody, and listens until its client says no more.
pub(crate) fn greeter(line: impl Into<String>) -> SocketAddr {
    let line = line.into();
    serve(move |mut stream| {
        let greeted = stream.write_all(format!("{line}\r\n").as_bytes());
        drop(greeted.and_then(|()| stream.shutdown(Shutdown::Write)));
        drop(io::copy(&mut &*stream, &mut io::sink()));
    })
}

/// Starts a server on a free port of loopback. It goes on for as long as the test process does.
pub(crate) fn serve(session: impl Fn(&TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let session = session.clone();
            thread::spawn(move || session(&stream));
        }
    });
    address
}
