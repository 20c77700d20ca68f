//! Logs of sealed frames.
