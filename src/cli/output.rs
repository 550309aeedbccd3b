//! Where everything is printed: results to standard output, the rest to standard error.

use std::fmt;
use std::io::{self, ErrorKind, Write};

use comfy_table::{ContentArrangement, Table, presets};

/// Writes a result. Whoever has closed the pipe has read enough: that is no failure.
pub(super) fn print(result: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(result.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Writes a line to standard error; if nobody reads it, nothing is left to be done.
pub(super) fn complain(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// One JSON document.
pub(super) fn json<T: serde::Serialize>(document: &T) -> String {
    let text = serde_json::to_string_pretty(document).expect("documents have text keys only");
    format!("{text}\n")
}

/// Columns with two spaces between them: good for the eye, and for `awk`.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.iter().copied())
        .add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["a".to_owned(), "long one".to_owned(), "x".to_owned()],
            vec!["wider".to_owned(), String::new(), "y".to_owned()],
        ];
        assert_eq!(
            table(&["NAME", "KIND", "LAST"], rows),
            "NAME   KIND      LAST\na      long one  x\nwider            y\n"
        );
    }
}
