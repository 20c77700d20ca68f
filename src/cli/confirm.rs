//! Asking the person at the terminal whether to go on.

use anyhow::bail;
use std::io::{IsTerminal, Write};

/// Whether there is a person to ask.
pub(super) fn is_possible() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks `question`, and fails with the sentence `otherwise` unless the answer is
/// yes, in full: `yes` or `oui`.
pub(super) fn ask(question: &str, otherwise: &'static str) -> anyhow::Result<()> {
    let mut screen = std::io::stderr().lock();
    write!(screen, "{question} Type yes to go on: ")?;
    screen.flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    if !is_yes(&line) {
        bail!(otherwise);
    }
    Ok(())
}

fn is_yes(answer: &str) -> bool {
    ["yes", "oui"].iter().any(|yes| answer.trim().eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_in_full_is_yes() {
        for (answer, is) in
            [("yes\n", true), (" Oui\r\n", true), ("y\n", false), ("no\n", false), ("", false)]
        {
            assert_eq!(is_yes(answer), is, "{answer:?}");
        }
    }
}
