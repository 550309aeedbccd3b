//! What happens to certificates without anybody's command: files change, and time passes.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::store::CertStore;

/// How long whoever changes something is given to go on with it, before it is looked at.
const SETTLE: Duration = Duration::from_millis(100);

/// A certificate expires at a full second.
const SECOND: Duration = Duration::from_secs(1);

/// Takes up what others change in the certificate folders, and tells what time changed; for ever.
pub(super) async fn watch(store: Arc<CertStore>) {
    tokio::join!(watch_folders(Arc::clone(&store)), tell_time(store));
}

async fn watch_folders(store: Arc<CertStore>) {
    let told = notifications(&store);
    loop {
        let refresh = spawn_blocking({
            let store = Arc::clone(&store);
            move || store.refresh()
        });
        // The runtime ends, or what panicked has said so and is tried again.
        let again = refresh.await.unwrap_or(SECOND);
        tokio::select! {
            () = something(told.as_ref()) => sleep(SETTLE).await,
            () = sleep(again) => {}
        }
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe, which is forbidden here, and asks for what an OwnedFd is: one descriptor as long as it lives"
)]
fn notifications(store: &CertStore) -> Option<AsyncFd<OwnedFd>> {
    let told = store.notifications().and_then(|descriptor| {
        let told = descriptor.map(|told| AsyncFd::with_interest(told, Interest::READABLE));
        told.transpose()
    });
    told.unwrap_or_else(|error| {
        // What is told is read all the same, with every look.
        tracing::warn!(%error, "changes to certificate folders are seen a moment later");
        None
    })
}

/// Returns when something is told.
async fn something(told: Option<&AsyncFd<OwnedFd>>) {
    match told {
        // Whoever reads it has a descriptor of their own; the next event is a new one.
        Some(told) => match told.readable().await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn tell_time(store: Arc<CertStore>) {
    let mut ticks = interval(SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if store.time_has_come() {
            let store = Arc::clone(&store);
            // The same as above.
            let _ = spawn_blocking(move || store.tell_time()).await;
        }
    }
}
