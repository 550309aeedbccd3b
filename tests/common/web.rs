//! A web server whose answers the test chooses, byte by byte, and that remembers what it got.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Which connection it came on, from 0.
    pub(crate) connection: usize,
    /// Everything up to the empty line, and that line.
    pub(crate) head: String,
}

impl Request {
    /// The path.
    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The value of a field; empty if there is none.
    pub(crate) fn field(&self, name: &str) -> &str {
        let mut lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        let found = lines.find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }
}

/// One of its connections.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    requests: usize,
}

impl Connection {
    /// Whether this is its first request.
    pub(crate) fn fresh(&self) -> bool {
        self.requests == 1
    }

    /// Says these bytes; whoever is gone does not hear them.
    pub(crate) fn say(&mut self, bytes: &str) {
        drop(self.stream.get_mut().write_all(bytes.as_bytes()));
    }

    /// An answer with a body of this text.
    pub(crate) fn answer(&mut self, fields: &str, text: &str) {
        let length = text.len();
        self.say(&format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n{fields}\r\n{text}"
        ));
    }

    /// The next `n` bytes of a body.
    pub(crate) fn body(&mut self, n: usize) -> Vec<u8> {
        let mut body = vec![0; n];
        match self.stream.read_exact(&mut body) {
            Ok(()) => body,
            Err(_) => Vec::new(),
        }
    }

    /// Reads a chunked body; whether it came whole.
    pub(crate) fn chunks(&mut self) -> bool {
        loop {
            let Ok(size) = usize::from_str_radix(&self.line(), 16) else {
                return false;
            };
            if self.body(size + 2).is_empty() {
                return false;
            }
            if size == 0 {
                return true;
            }
        }
    }

    /// The next line, without its end; empty at the end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        drop(self.stream.read_line(&mut line));
        line.trim_end().to_owned()
    }
}

/// It runs until the test ends.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
}

impl Web {
    /// `answer` gets each request, and says whether the connection is kept.
    pub(crate) fn start(
        answer: impl Fn(&Request, &mut Connection) -> bool + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let answer = Arc::new(answer);
        let (seen, count) = (Arc::clone(&requests), Arc::clone(&connections));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let connection = count.fetch_add(1, Ordering::SeqCst);
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                thread::spawn(move || {
                    let mut ours = Connection {
                        stream: BufReader::new(stream),
                        requests: 0,
                    };
                    while let Some(head) = head(&mut ours.stream) {
                        let request = Request { connection, head };
                        ours.requests += 1;
                        seen.lock().unwrap().push(request.clone());
                        if !answer(&request, &mut ours) {
                            return;
                        }
                    }
                });
            }
        });
        Self {
            address,
            requests,
            connections,
        }
    }

    /// Everything that was asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn head(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let n = stream.read_until(b'\n', &mut head).ok()?;
        if n == 0 {
            return None;
        }
    }
    String::from_utf8(head).ok()
}
