//! SIGKILL at random points of a load.

use super::broker::shared;
use super::load::{Load, Part, rounds};
use super::process::Draw;
use std::time::{Duration, Instant};

const KILLS: u64 = 10;

/// Kills `part` after `nth` shares of the load of `of` faults, at a random point
/// of the work under way, and starts it again.
fn kill(load: &mut Load, draw: &mut Draw, part: Part, nth: u64, of: u64) {
    load.until_fault(nth, of, draw.below(load.share(of)));
    // Somewhere within the steps of a batch.
    let until = Instant::now() + Duration::from_micros(draw.below(15_000));
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    load.kill(part);
    load.is_over(part);
    load.run(part);
    load.recover();
}

#[test]
fn nothing_is_lost_when_the_hub_is_killed_ten_times() {
    rounds(|| {
        let mut draw = Draw::announced("PIROGUE_MATRIX_SEED");
        let mut load = Load::start("hub killed 10 times", shared().node());
        for nth in 1..=KILLS {
            kill(&mut load, &mut draw, Part::Hub, nth, KILLS);
        }
        assert!(load.redelivered() > 0, "no kill found work in flight");
        load.finish();
    });
}

#[test]
fn nothing_is_lost_when_each_member_s_side_is_killed_ten_times() {
    rounds(|| {
        let mut draw = Draw::announced("PIROGUE_MATRIX_SEED");
        let mut load = Load::start("connect killed 10 times on each side", shared().node());
        for nth in 1..=KILLS {
            kill(&mut load, &mut draw, Part::Publisher, 2 * nth - 1, 2 * KILLS);
            kill(&mut load, &mut draw, Part::Recipient, 2 * nth, 2 * KILLS);
        }
        assert!(load.redelivered() > 0, "no kill found work in flight");
        load.finish();
    });
}
