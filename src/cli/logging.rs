//! Log lines on standard error.

use crate::config::{Log, LogFormat, LogLevel};
use std::io::IsTerminal;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts to log as `log` says, and more with each `-v` of `verbose`. A second
/// call in a process changes nothing.
///
/// Libraries say warnings and errors only, at any level: what some of them log
/// for debugging holds the content of requests.
pub(super) fn start(log: &Log, verbose: u8) {
    let targets = Targets::new()
        .with_default(LevelFilter::WARN)
        // It logs a message that comes back with its content.
        .with_target("lapin", LevelFilter::OFF)
        .with_target("pirogue", level(log.level, verbose));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let layer = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let _ = tracing_subscriber::registry().with(layer.with_filter(targets)).try_init();
}

fn level(level: LogLevel, verbose: u8) -> LevelFilter {
    let from_settings = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let from_command = match verbose {
        0 => LevelFilter::OFF,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    from_settings.max(from_command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_makes_it_say_more_and_never_less() {
        assert_eq!(level(LogLevel::Info, 0), LevelFilter::INFO);
        assert_eq!(level(LogLevel::Error, 0), LevelFilter::ERROR);
        assert_eq!(level(LogLevel::Info, 1), LevelFilter::DEBUG);
        assert_eq!(level(LogLevel::Trace, 1), LevelFilter::TRACE);
        assert_eq!(level(LogLevel::Warn, 3), LevelFilter::TRACE);
    }
}
