//! Logging to stderr: what is left out unless it is asked for, and how much one line may repeat itself.
//!
//! **Why a bound for every line and not for known ones:** strangers and dead peers can make any line repeat itself, and
//! a log that fills the disk stops the node that it should explain.

use crate::config::{Config, LogFormat};
use crate::core::authority::ClusterStatus;
use std::collections::HashMap;
use std::hash::Hash;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Context, Filter, Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

/// Off unless `log` names it: the consensus engine repeats itself some 90 times a second for each dead peer, and the
/// HTTP library calls each stranger's mistake an error. What matters of both is said by this program's own lines.
const QUIET: &str = "openraft=off,actix_http=off";
/// Lines from one place of the source, in [`WINDOW`].
const LINES: u64 = 20;
const VERSION: &str = env!("CARGO_PKG_VERSION");
const WINDOW: Duration = Duration::from_secs(60);

/// How often each place has spoken lately. Clones share it.
#[derive(Clone, Debug)]
pub struct Flood(Arc<Mutex<Places<Identifier>>>);

/// Starts logging.
///
/// # Errors
/// When the filter cannot be read.
pub fn log(config: &Config) -> Result<Flood, String> {
    let filter = filter(&config.log)?;
    let pretty = match config.log_format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Pretty => true,
    };
    let flood = Flood(Arc::default());
    let lines = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match pretty {
        true => registry.with(lines.with_filter(flood.clone())).try_init(),
        false => {
            let lines = lines.json().flatten_event(true);
            let lines = lines.map_event_format(|format| Named::new(format, config.node));
            registry.with(lines.with_filter(flood.clone())).try_init()
        }
    };
    started.map_err(|error| error.to_string())?;
    Ok(flood)
}

/// Says once what runs here, and with what.
pub(super) fn started(config: &Config, cluster: &ClusterStatus) {
    let open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    tracing::info!(
        version = VERSION,
        public = %config.public,
        internal = %config.internal,
        peer = %config.peer,
        data = %config.data.display(),
        cluster = &*cluster.cluster,
        members = cluster.nodes.len(),
        open_files,
        "this node starts"
    );
}

/// JSON lines that begin with whose they are: streams of several nodes are often read as one.
struct Named<F> {
    format: F,
    prefix: String,
}

impl<F> Named<F> {
    fn new(format: F, node: u64) -> Self {
        let prefix = format!("{{\"this_node\":{node},\"version\":\"{VERSION}\",");
        Self { format, prefix }
    }
}

impl<S, N, F> FormatEvent<S, N> for Named<F>
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    N: for<'w> FormatFields<'w> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        cx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut line = String::new();
        self.format
            .format_event(cx, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            Some(rest) => write!(writer, "{}{rest}", self.prefix),
            None => writer.write_str(&line),
        }
    }
}

/// What is written at all.
fn filter(log: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(format!("{QUIET},{log}")).map_err(|error| format!("`log`: {error}"))
}

impl Flood {
    /// Says now and then how much was left out, for ever.
    pub(super) async fn report(self) {
        loop {
            actix_web::rt::time::sleep(WINDOW).await;
            let left_out = self.lock().left_out();
            if left_out > 0 {
                tracing::warn!(left_out, "lines that repeated themselves were left out");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Places<Identifier>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Filter<S> for Flood {
    fn enabled(&self, _line: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let line = event.metadata();
        // Whoever asks for more than `info` wants all of it.
        *line.level() > Level::INFO || self.lock().takes(line.callsite(), Instant::now())
    }
}

/// How often each place has spoken in its window. Pure. As many places as the source has.
#[derive(Debug)]
struct Places<K> {
    spoken: HashMap<K, (Instant, u64)>,
    left_out: u64,
}

impl<K> Default for Places<K> {
    fn default() -> Self {
        Self {
            spoken: HashMap::new(),
            left_out: 0,
        }
    }
}

impl<K: Hash + Eq> Places<K> {
    fn takes(&mut self, place: K, now: Instant) -> bool {
        let (since, lines) = self.spoken.entry(place).or_insert((now, 0));
        if now.saturating_duration_since(*since) >= WINDOW {
            (*since, *lines) = (now, 0);
        }
        *lines = lines.saturating_add(1);
        let takes = *lines <= LINES;
        self.left_out = self.left_out.saturating_add(u64::from(!takes));
        takes
    }

    fn left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_engine_and_the_http_library_are_silent_unless_they_are_named() {
        let heard = |log: &str| {
            let lines = tracing_subscriber::registry().with(filter(log).unwrap());
            tracing::subscriber::with_default(lines, || {
                [
                    tracing::enabled!(target: "openraft::core", Level::ERROR),
                    tracing::enabled!(target: "actix_http::h1", Level::ERROR),
                    tracing::enabled!(target: "gatecast::server", Level::INFO),
                ]
            })
        };
        assert_eq!(heard("info"), [false, false, true]);
        assert_eq!(heard("warn"), [false, false, false]);
        assert_eq!(heard("info,openraft=warn"), [true, false, true]);
        assert_eq!(heard("info,actix_http=error"), [false, true, true]);
        assert!(filter("info,=").is_err());
    }

    #[test]
    fn a_json_line_begins_with_whose_it_is_and_stays_one_object() {
        #[derive(Clone, Default)]
        struct Written(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Written {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let written = Written::default();
        let writer = written.clone();
        let lines = fmt::layer()
            .with_writer(move || writer.clone())
            .json()
            .flatten_event(true)
            .map_event_format(|format| Named::new(format, 7));
        let lines = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(lines, || tracing::info!(node = 2, "said"));
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        let found = ["this_node", "node", "version", "message"].map(|name| line.get(name));
        let wanted: [serde_json::Value; 4] = [7.into(), 2.into(), VERSION.into(), "said".into()];
        assert_eq!(found, wanted.each_ref().map(Some));
        assert!(text.ends_with("}\n") && text.matches('\n').count() == 1);
    }

    #[test]
    fn one_place_repeats_itself_so_often_and_others_are_heard_all_the_same() {
        let now = Instant::now();
        let mut places = Places::default();
        let taken = (0..10_000).filter(|_| places.takes("flood", now)).count();
        assert_eq!(taken as u64, LINES);
        assert!(places.takes("other", now));
        assert_eq!((places.left_out(), places.left_out()), (10_000 - LINES, 0));
        assert!(places.takes("flood", now + WINDOW));
    }
}
