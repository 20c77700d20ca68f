//! The machine: folders, disk space, who has the store, the HTTP port.

use super::files::AS_THE_SERVICE;
use super::{Findings, Running};
use crate::config::Http;
use crate::hub::operator::StatusReport;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;

const DATA: &str = "data folder";
const DISK: &str = "disk space";
const HUB: &str = "running hub";
const HTTP: &str = "HTTP port";

/// Less than this is little for a member's side, in bytes.
const TIGHT: u64 = 256 << 20;

/// The data folder: whether it can be written to, and whether `whose` store in
/// it is in use.
pub(super) fn store(data: &Path, whose: &str, findings: &mut Findings) {
    if !writable(DATA, &format!("the {whose} keeps its store in"), data, findings) {
        return;
    }
    let lock = data.join("LOCK");
    match File::open(&lock).map(|file| file.try_lock()) {
        Ok(Err(TryLockError::WouldBlock)) => findings.ok(
            "store",
            format!("in use by a running process, as it is while a {whose} runs on {}", data.display()),
        ),
        Ok(Ok(())) => findings.ok("store", "there, and used by nobody now"),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            findings.ok("store", format!("none in {} yet: the first start makes it", data.display()));
        }
        Ok(Err(TryLockError::Error(error))) | Err(error) => findings.failed(
            "store",
            format!("{} can't be opened ({error})", lock.display()),
            format!("make {} belong to the user who runs this", data.display()),
        ),
    }
}

/// Whether files can be made in `folder`, or the folder itself can be made.
/// Nothing stays: the file has no name, or is removed at once.
pub(super) fn writable(check: &str, what: &str, folder: &Path, findings: &mut Findings) -> bool {
    let shown = folder.display();
    // What isn't there yet is made in the nearest folder that is.
    let nearest = folder.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
    if !nearest.is_dir() {
        findings.failed(
            check,
            format!("{what} {shown}, and {} isn't a folder", nearest.display()),
            format!("move {} away, or name another folder", nearest.display()),
        );
        return false;
    }
    match tempfile::tempfile_in(nearest) {
        Ok(_) if nearest == folder => findings.ok(check, format!("{shown} can be written to")),
        Ok(_) => findings.ok(check, format!("{shown} isn't there yet and can be made")),
        Err(error) => {
            findings.failed(
                check,
                format!("{what} {shown}, and {} can't be written to ({error})", nearest.display()),
                format!(
                    "make it the service's own, `chown SERVICE-USER {}`, or name another folder",
                    nearest.display()
                ),
            );
            return false;
        }
    }
    true
}

/// How many bytes are free for `data`, and what to do about it.
fn free(data: &Path, findings: &mut Findings) -> Option<(u64, String)> {
    let nearest = data.ancestors().find(|above| above.exists()).unwrap_or(data);
    match fs2::available_space(nearest) {
        Ok(free) => {
            let shown = data.display();
            Some((
                free,
                format!("free some under {shown}, or give it a larger disk; `df -h {shown}` shows it"),
            ))
        }
        Err(error) => {
            let found = format!("the free space of {} can't be told ({error})", nearest.display());
            findings.failed(DISK, found, "look at the disk: `df`");
            None
        }
    }
}

/// The disk space of a hub, which takes nothing in below `low_water` bytes.
pub(super) fn disk(data: &Path, low_water: u64, findings: &mut Findings) {
    let Some((free, more)) = free(data, findings) else { return };
    let (mib, mark) = (free >> 20, low_water >> 20);
    let found = format!("{mib} MiB are free; below {mark} MiB (store.low_water_mib) nothing is taken in");
    if free < low_water {
        findings.failed(DISK, found, more);
    } else if free < low_water.saturating_mul(4) {
        findings.warning(DISK, found, more);
    } else {
        findings.ok(DISK, found);
    }
}

/// The disk space of a member's side.
pub(super) fn disk_of_member(data: &Path, findings: &mut Findings) {
    let Some((free, more)) = free(data, findings) else { return };
    let found = format!("{} MiB are free", free >> 20);
    if free < TIGHT { findings.warning(DISK, found, more) } else { findings.ok(DISK, found) }
}

/// Whether a hub runs on the data folder, and what it says of itself.
pub(super) fn running(running: &Running, findings: &mut Findings) {
    match running {
        Running::No => findings.ok(HUB, "none: nobody answers at its socket"),
        Running::Unknown(why) => findings.warning(
            HUB,
            format!("it can't be asked: {why}"),
            "run this as the user who runs the hub",
        ),
        Running::Yes(status) => {
            for problem in &status.problems {
                findings.failed(
                    HUB,
                    problem.clone(),
                    "`pirogue status` shows more, and the hub's log says why",
                );
            }
            if status.problems.is_empty() {
                findings.ok(HUB, facts(status));
            }
        }
    }
}

fn facts(status: &StatusReport) -> String {
    let waiting: u64 = status.recipients.iter().map(|recipient| recipient.undecided).sum();
    format!(
        "{} runs, version {}: {} events taken in, {waiting} decisions waiting",
        status.name, status.version, status.events
    )
}

/// Whether the HTTP port can be taken.
pub(super) fn http(http: &Http, running: &Running, findings: &mut Findings) {
    if !http.enabled {
        return findings.ok(HTTP, "HTTP isn't answered (http.enabled)");
    }
    let address = http.listen;
    let other = "set http.listen to another one";
    match TcpListener::bind(address) {
        Ok(_) => findings.ok(HTTP, format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => match running {
            Running::Yes(_) => {
                findings.ok(HTTP, format!("{address} is in use, by the running hub as it seems"))
            }
            Running::Unknown(_) => findings.warning(
                HTTP,
                format!("{address} is in use, perhaps by the hub, which doesn't answer this user"),
                AS_THE_SERVICE,
            ),
            Running::No => findings.failed(
                HTTP,
                format!("another program already listens on {address}"),
                format!("stop it (`ss -ltnp 'sport = :{}'` says which), or {other}", address.port()),
            ),
        },
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            findings.failed(
                HTTP,
                format!("this user may not listen on {address}"),
                format!("{other}, above 1023"),
            );
        }
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
            findings.failed(HTTP, format!("{address} isn't an address of this machine"), other);
        }
        Err(error) => {
            findings.failed(HTTP, format!("it isn't possible to listen on {address} ({error})"), other)
        }
    }
}
