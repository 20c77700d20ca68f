//! A small disk, to be filled.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk of its own. It is unmounted when this is dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of `mib` MiB at `at`, as root or by sudo where that asks nothing.
    /// Panics where neither may.
    pub fn mount(at: &Path, mib: u64) -> SmallDisk {
        use std::os::unix::fs::MetadataExt;
        std::fs::create_dir_all(at).unwrap();
        let owner = std::fs::metadata(at).unwrap();
        let options = format!("size={mib}m,mode=700,uid={},gid={}", owner.uid(), owner.gid());
        let at_text = at.to_str().unwrap();
        assert!(
            as_root(&["mount", "-t", "tmpfs", "-o", &options, "tmpfs", at_text]),
            "a small disk can't be mounted: run this test as root, or let sudo mount without a password"
        );
        SmallDisk(at.to_owned())
    }

    /// Writes until `leave` bytes are free.
    pub fn fill(&self, leave: u64) {
        let mut file = File::options().create(true).append(true).open(self.0.join("filler")).unwrap();
        let chunk = vec![0xF1; 64 << 10];
        while fs2::available_space(&self.0).unwrap() > leave {
            if let Err(error) = file.write_all(&chunk) {
                assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
                // The last page.
                while file.write_all(&chunk[..512]).is_ok() {}
                return;
            }
        }
    }

    /// Frees what was filled.
    pub fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let at = self.0.to_str().unwrap();
        if !as_root(&["umount", at]) {
            as_root(&["umount", "-l", at]);
        }
    }
}

/// Runs a command as this user, then by sudo. Returns whether one of them could.
fn as_root(command: &[&str]) -> bool {
    let runs = |command: &[&str]| {
        let output = Command::new(command[0]).args(&command[1..]).output();
        output.is_ok_and(|output| output.status.success())
    };
    runs(command) || runs(&[&["sudo", "-n"], command].concat())
}
