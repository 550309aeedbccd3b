//! Where log lines go, which ones are written, and how they look.
//!
//! Standard error, text or JSON, chosen anew at every reload of the configuration. Two layers
//! are always there, one for each form, and the one that is not wanted has a filter that lets
//! nothing pass: a span that began under one form is unknown to the other, so that a change of
//! form in the middle of a connection is harmless. What is worth saying is for others to know.

mod combined;

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::filter::{Directive, ParseError};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

use crate::config::{Log, LogFormat};
use combined::Lines;

/// Target of the lines of finished connections.
pub const ACCESS: &str = "gatepost::access";

/// Changes what is logged while the process runs.
#[derive(Clone, Debug)]
pub struct LogHandle {
    text: reload::Handle<EnvFilter, Registry>,
    json: reload::Handle<EnvFilter, Registry>,
}

/// Why the log could not be changed; it goes on as it was.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Not a filter.
    #[error(
        "log level {level:?}: expected a level or a filter such as \"info,gatepost::proxy=debug\""
    )]
    Filter {
        /// What was found.
        level: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Nobody listens to the handle any more.
    #[error("the log cannot be changed")]
    Gone(#[from] reload::Error),
}

/// Starts the log, before the configuration is known: text, level info, access lines. Called
/// once, by the binary.
pub fn init() -> LogHandle {
    let (subscriber, handle) = subscriber(io::stderr, io::stderr().is_terminal());
    // Whoever has set another subscriber before hears everything there.
    let _ = subscriber.try_init();
    handle
}

impl LogHandle {
    /// Makes the log what the configuration says.
    pub fn apply(&self, log: &Log) -> Result<(), LogError> {
        let filter = filter(log)?;
        let (on, off) = match log.format {
            LogFormat::Text => (&self.text, &self.json),
            LogFormat::Json => (&self.json, &self.text),
        };
        off.reload(silence())?;
        on.reload(filter)?;
        Ok(())
    }
}

fn subscriber<W>(writer: W, colours: bool) -> (impl Subscriber + Send + Sync, LogHandle)
where
    W: for<'w> MakeWriter<'w> + Clone + Send + Sync + 'static,
{
    let (text_filter, text) = reload::Layer::new(access(EnvFilter::new("info"), true));
    let (json_filter, json) = reload::Layer::new(silence());
    let text_layer = fmt::layer()
        .with_writer(writer.clone())
        .with_ansi(colours)
        .event_format(Lines::default())
        .with_filter(text_filter);
    let json_layer = fmt::layer()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_writer(writer)
        .with_filter(json_filter);
    let layers = vec![text_layer.boxed(), json_layer.boxed()];
    (Registry::default().with(layers), LogHandle { text, json })
}

fn filter(log: &Log) -> Result<EnvFilter, LogError> {
    let filter = EnvFilter::try_new(&log.level).map_err(|source| LogError::Filter {
        level: log.level.clone(),
        source,
    })?;
    Ok(access(filter, log.access))
}

/// Access lines have a switch of their own, whatever the level is.
fn access(filter: EnvFilter, on: bool) -> EnvFilter {
    let level = if on { "info" } else { "off" };
    let directive: Directive = format!("{ACCESS}={level}")
        .parse()
        .expect("a target and a level are a directive");
    filter.add_directive(directive)
}

fn silence() -> EnvFilter {
    EnvFilter::new("off")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    fn log(level: &str, format: LogFormat, access: bool) -> Log {
        Log {
            level: level.to_owned(),
            format,
            access,
        }
    }

    fn with_log(test: impl FnOnce(&LogHandle, &Written)) {
        let lines = Written::default();
        let writer = lines.clone();
        let (subscriber, handle) = subscriber(move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, || test(&handle, &lines));
    }

    fn speak() {
        tracing::debug!("whisper");
        tracing::info!("talk");
        tracing::warn!(value = 7, "shout");
        tracing::info!(target: ACCESS, "connection");
    }

    #[test]
    fn level_and_access_lines_are_chosen_apart() {
        with_log(|handle, lines| {
            let heard = |level: &str, access| {
                handle.apply(&log(level, LogFormat::Text, access)).unwrap();
                speak();
                let text = lines.take();
                ["whisper", "talk", "shout", "connection"].map(|word| text.contains(word))
            };
            assert_eq!(heard("info", true), [false, true, true, true]);
            assert_eq!(heard("info", false), [false, true, true, false]);
            assert_eq!(heard("warn", true), [false, false, true, true]);
            assert_eq!(heard("debug", false), [true, true, true, false]);
            assert_eq!(heard("off", true), [false, false, false, true]);
            assert_eq!(
                heard("warn,gatepost::log=debug", false),
                [true, true, true, false]
            );
        });
    }

    #[test]
    fn before_the_configuration_is_read_text_at_level_info() {
        with_log(|_, lines| {
            speak();
            let text = lines.take();
            assert!(
                text.contains(" INFO gatepost::log::tests: talk\n"),
                "{text}"
            );
            assert!(text.contains(" WARN gatepost::log::tests: shout value=7\n"));
            assert!(text.contains(" INFO gatepost::access: connection\n"));
            assert!(!text.contains("whisper"));
            let (stamp, _) = text.split_once(' ').unwrap();
            assert!(stamp.ends_with('Z') && stamp.contains('T'), "{stamp}");
        });
    }

    #[test]
    fn the_form_changes_in_the_middle_of_a_connection() {
        with_log(|handle, lines| {
            let span = tracing::info_span!("connection", id = 5);
            span.in_scope(|| tracing::info!("first"));
            assert!(lines.take().contains("connection{id=5}: gatepost"));

            handle.apply(&log("info", LogFormat::Json, true)).unwrap();
            span.in_scope(|| tracing::warn!(value = 7, "second"));
            let line: serde_json::Value = serde_json::from_str(&lines.take()).unwrap();
            assert_eq!(line["level"], "WARN");
            assert_eq!(line["message"], "second");
            assert_eq!(line["value"], 7);

            let span = tracing::info_span!("connection", id = 6);
            span.in_scope(|| tracing::info!("third"));
            let line: serde_json::Value = serde_json::from_str(&lines.take()).unwrap();
            assert_eq!(line["span"]["id"], 6);

            handle.apply(&log("info", LogFormat::Text, true)).unwrap();
            span.in_scope(|| tracing::info!("fourth"));
            assert!(lines.take().contains("fourth"));
        });
    }

    #[test]
    fn a_level_that_is_none_changes_nothing() {
        with_log(|handle, lines| {
            let error = handle.apply(&log("gatepost=loud", LogFormat::Json, true));
            assert_eq!(
                error.unwrap_err().to_string(),
                "log level \"gatepost=loud\": expected a level or a filter such as \"info,gatepost::proxy=debug\""
            );
            speak();
            assert!(lines.take().contains("INFO"));
        });
    }
}
