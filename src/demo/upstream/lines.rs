//! Lines in, lines out, within bounds.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt};

use super::{Stream, malformed};

/// Reads one line without its CRLF; `None` at the end of the stream. A longer one, or one cut
/// off by the end, is an error.
pub(super) async fn read_line(stream: &mut Stream, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    stream.take(limit).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(malformed("line too long or cut off"));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(line))
}
