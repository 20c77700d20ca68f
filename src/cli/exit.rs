//! How a command ends: a sentence on standard error and an exit status.

use crate::config::{ConfigFault, SecretFault};
use crate::fault::Exit;
use crate::ops::client::CallFault;
use crate::ops::http::HttpFault;
use crate::ops::socket::SocketFault;
use std::process::ExitCode;

/// The command printed what there is to say, and its answer is no: a failed
/// case, an event that isn't known. It ends with status 1 and no more words.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer is no")]
pub struct Printed;

/// Prints why a command failed, if it did, and gives its exit status.
pub(super) fn status(done: anyhow::Result<()>) -> ExitCode {
    let Err(fault) = done else { return ExitCode::SUCCESS };
    if !fault.is::<Printed>() {
        // Standard error is gone: there is nobody to tell.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("pirogue: {}\n", super::render::plain(&sentence(&fault))),
        );
    }
    ExitCode::from(exit(&fault) as u8)
}

/// The fault and what caused it, in one line. A fault that already says its
/// cause doesn't say it twice.
fn sentence(fault: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in fault.chain() {
        let cause = cause.to_string();
        if sentence.is_empty() {
            sentence = cause;
        } else if !sentence.contains(&cause) {
            sentence = format!("{sentence}: {cause}");
        }
    }
    sentence
}

/// The exit status that a fault means.
fn exit(fault: &anyhow::Error) -> Exit {
    let of_cause = |cause: &(dyn std::error::Error + 'static)| {
        if cause.is::<ConfigFault>() || cause.is::<SecretFault>() {
            Some(Exit::Usage)
        } else if cause.is::<CallFault>() || cause.is::<HttpFault>() || cause.is::<SocketFault>() {
            Some(Exit::Unreachable)
        } else {
            None
        }
    };
    fault.chain().find_map(of_cause).unwrap_or(Exit::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cause_that_was_said_is_not_said_again() {
        let io = || std::io::Error::other("the disk is on fire");
        let fault = CallFault::Io { socket: "/s".into(), source: io() };
        assert_eq!(
            sentence(&anyhow::Error::new(fault)),
            "the hub's socket /s can't be used: the disk is on fire"
        );
        let fault = anyhow::Error::new(io()).context("members can't be read");
        assert_eq!(sentence(&fault), "members can't be read: the disk is on fire");
    }

    #[test]
    fn the_status_says_whose_turn_it_is() {
        let config = ConfigFault::Unreadable { file: "f".into(), source: std::io::Error::other("x") };
        let config = Err::<(), _>(config).context("the hub can't start").unwrap_err();
        assert_eq!(exit(&config), Exit::Usage);
        let call = CallFault::NoHub { data: "d".into() };
        assert_eq!(exit(&call.into()), Exit::Unreachable);
        assert_eq!(exit(&Printed.into()), Exit::Failed);
    }
}
