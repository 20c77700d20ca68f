//! The runtime of a command.

/// Runs `work` on all cores.
///
/// The runtime isn't shut down at the end, since the process ends anyway: the
/// broker's client library has a thread of its own, which would find its timers
/// gone and panic where a connection is still being closed.
pub(super) fn block_on<T, E: Into<anyhow::Error>>(
    work: impl Future<Output = Result<T, E>>,
) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    std::mem::forget(runtime);
    done.map_err(Into::into)
}
