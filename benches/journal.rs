//! How long the check of a whole journal takes: a million entries, as a hub
//! writes them, in tiles on disk.
//!
//! `cargo bench --bench journal` prints how long the tiles took to make, to write
//! and to check, on all cores. The files were just written, so that they are read
//! from memory.

use pirogue::journal::tile::{CHECKPOINT, Folder, TileBuilder, TileFile};
use pirogue::journal::{Check, Checkpoint, Entry, LogKey, SignedCheckpoint};
use pirogue::keys::PrivateKey;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An event and its delivery, by turns.
fn entry(n: u64) -> Entry {
    let at = 1_793_675_112_000 + n as i64;
    let mut name = [7; 32];
    name[..8].copy_from_slice(&n.to_le_bytes());
    match n % 2 {
        0 => Entry::Event {
            at,
            name,
            publisher: "province-sud".into(),
            event_type: "nc.employment.jobseeker.registered".into(),
            version: 1,
            kid: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".into(),
        },
        _ => Entry::Delivered {
            at,
            name,
            event: [9; 32],
            recipient: "gouvernement".into(),
            epoch: 1,
            sequence: n / 2 + 1,
            agreement: "emploi-gouvernement:1".into(),
        },
    }
}

fn write(folder: &Path, files: Vec<TileFile>) -> std::io::Result<()> {
    for file in files {
        let path = folder.join(file.tile.to_string());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, file.bytes)?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo test --benches` only looks whether it runs.
    let scale = if std::env::args().any(|argument| argument == "--bench") { 1 } else { 1000 };
    let size = 1_000_000 / scale;
    let folder = tempfile::tempdir()?;
    let key = PrivateKey::from_seed(&[7; 32]);
    let log = LogKey { name: "nc".into(), key: key.public().clone() };

    let (mut builder, mut making, started) = (TileBuilder::new(), std::time::Duration::ZERO, Instant::now());
    for n in 0..size {
        let bytes = entry(n).encode();
        let from = Instant::now();
        builder.push(&bytes)?;
        making += from.elapsed();
        write(folder.path(), builder.full())?;
    }
    write(folder.path(), builder.partial())?;
    let checkpoint = Checkpoint::new("nc", builder.head()).sign(&key)?;
    std::fs::write(folder.path().join(CHECKPOINT), checkpoint.render())?;
    println!("{size} entries: hashed into tiles in {making:.2?}, written in {:.2?}", started.elapsed());

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for round in 1..=3 {
        let started = Instant::now();
        let text = std::fs::read_to_string(folder.path().join(CHECKPOINT))?;
        let head = SignedCheckpoint::open(&text, &log)?.head();
        let mut check = Check::begin(Arc::new(Folder(folder.path().to_owned())), head, None)?;
        runtime.block_on(async {
            while check.step(|_, _| None::<()>).await?.is_some() {}
            Ok::<(), Box<dyn Error>>(())
        })?;
        println!("round {round}: {} entries checked in {:.2?}", check.done(), started.elapsed());
    }
    Ok(())
}
