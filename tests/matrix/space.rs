//! The hub's disk is full for a while.

use super::broker::shared;
use super::disk::SmallDisk;
use super::load::{Load, Network, Part, rounds};
use super::process::hub_status;

#[test]
fn nothing_is_lost_when_the_hub_s_disk_is_full_and_freed() {
    rounds(|| {
        let folder = tempfile::tempdir().unwrap();
        let disk = SmallDisk::mount(&folder.path().join("hub"), 512);
        let node = shared().node();
        let mut load =
            Load::prepare_in("hub's disk full", folder.path(), node, |_, _| Network::straight(node));
        // It hardly sees it coming.
        let config = load.path().join("hub/hub.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text.replace("low_water_mib = 64", "low_water_mib = 1")).unwrap();
        disk.fill(load.events << 13);
        load.run_all();
        load.until_fault(1, 1, 0);
        load.supervise(Part::Hub);
        disk.fill(0);
        load.open_source();
        // It ends for want of space, is started again, and ends again where it
        // can't even start; or it sees in time that there is too little.
        load.wait("the hub finds its disk full", |load| {
            let waits = || hub_status(load.path()).is_some_and(|status| !status.problems.is_empty());
            load.count(Part::Hub, "No space left on device") >= 2 || waits()
        });
        assert!(load.recorded() < load.events, "all was taken in on a full disk");
        disk.empty();
        load.is_over(Part::Hub);
        load.recover();
        load.finish();
    });
}
