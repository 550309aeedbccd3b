//! An error with its causes, for those who print or log it.

use std::error::Error;

/// On one line, as in "what: why: why that".
pub fn in_one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("sslcert/a.key: cannot write")]
    struct Outer(#[source] io::Error);

    #[test]
    fn causes_follow_on_the_same_line() {
        let outer = Outer(io::Error::other("disk gone"));
        assert_eq!(
            in_one_line(&outer),
            "sslcert/a.key: cannot write: disk gone"
        );
    }
}
