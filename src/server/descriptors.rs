//! How many connections the descriptor limit allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept for everything that is not a connection: listening sockets, files, the
/// runtime, the admin socket and its clients.
const RESERVED: u64 = 128;

/// Raises the limit to what the process may have; how many connections that allows, with a
/// descriptor for each of their two ends.
pub(super) fn raise() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "cannot raise the limit of open files");
        }
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from((files.saturating_sub(RESERVED) / 2).max(1)).unwrap_or(usize::MAX)
}

/// The number of connections for a configured limit (0: as many as are allowed). A number
/// that is not allowed is a warning.
pub(super) fn connections(configured: usize, allowed: usize) -> usize {
    if configured > allowed {
        tracing::warn!(
            configured,
            allowed,
            "limits.connections is more than the limit of open files allows"
        );
    }
    match configured {
        0 => allowed,
        configured => configured.min(allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::connections;

    #[test]
    fn no_more_connections_than_allowed() {
        assert_eq!(connections(0, 100), 100);
        assert_eq!(connections(50, 100), 50);
        assert_eq!(connections(500, 100), 100);
    }
}
