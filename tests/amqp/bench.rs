//! `pirogue bench exchange`, small: whether it measures, and leaves nothing.

use super::broker::shared;
use super::process::{Process, command};
use serde_json::Value;

const EVENTS: u64 = 300;

fn number(object: &Value, name: &str) -> f64 {
    object[name].as_f64().unwrap_or_else(|| panic!("{name} isn't a number in {object}"))
}

#[test]
fn a_benchmark_gives_its_figures_as_json_and_leaves_nothing_on_the_broker() {
    let node = shared().node();
    let broker = format!("amqp://guest:guest@127.0.0.1:{}", node.port);
    let arguments = ["bench", "exchange", "--json", "--events", "300", "--pairs", "1"];
    let latency = ["--rate", "100", "--seconds", "2"];
    let mut process = command(&[&arguments[..], &latency[..]].concat());
    process.env("PIROGUE_BENCH_BROKER", &broker).env("PIROGUE_BENCH_MANAGEMENT", node.management_url());
    let ended = Process::spawn(process).end();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(!ended.stderr.contains("guest:guest"));

    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["events"], EVENTS);
    assert!(number(&report, "body_bytes") > 50.0 && number(&report, "headers_bytes") > 300.0, "{report}");
    for (table, recipients) in [("one", 1), ("five", 5)] {
        let rates = &report[table];
        assert_eq!(rates["recipients_per_event"], recipients);
        assert_eq!(rates["pairs"].as_array().unwrap().len(), 1);
        for object in [rates, &rates["pairs"][0]] {
            for name in ["hub_per_second", "shovel_per_second", "ratio", "hub_cpu_us"] {
                let figure = number(object, name);
                assert!(figure.is_finite() && figure > 0.0, "{table} {name}: {figure}");
            }
            assert!(number(object, "hub_peak_bytes") > f64::from(1 << 20), "{object}");
            let ratio = number(object, "hub_per_second") / number(object, "shovel_per_second");
            assert!((ratio - number(object, "ratio")).abs() < 1e-9 * ratio, "{object}");
        }
    }
    let latency = &report["latency"];
    for through in ["hub", "bare"] {
        let [p50, p99, max] = ["p50_ms", "p99_ms", "max_ms"].map(|name| number(&latency[through], name));
        assert!(0.0 < p50 && p50 <= p99 && p99 <= max, "{latency}");
        assert_eq!(latency[through]["messages"], 200);
    }
    let added = number(&latency["hub"], "p99_ms") - number(&latency["bare"], "p99_ms");
    assert!((added - number(latency, "added_p99_ms")).abs() < 1e-9);

    let stays = |list: &str| {
        let listed = node.ctl(&["--quiet", list]).stdout;
        String::from_utf8(listed).unwrap().lines().any(|line| line.contains("pirogue-bench-"))
    };
    assert!(!stays("list_vhosts") && !stays("list_users"));
}

#[test]
fn a_benchmark_without_an_administrator_says_what_to_write() {
    let node = shared().node();
    let broker = format!("amqp://127.0.0.1:{}", node.port);
    let management = node.management_url();
    let ended =
        Process::start(&["bench", "exchange", "--broker", &broker, "--management", &management]).end();
    let sentence = ended.sentence(2);
    assert!(sentence.contains("amqp://USER:PASSWORD@HOST:PORT"), "{sentence}");

    let broker = format!("amqp://guest:notit@127.0.0.1:{}", node.port);
    let ended =
        Process::start(&["bench", "exchange", "--broker", &broker, "--management", &management]).end();
    let sentence = ended.sentence(2);
    assert!(sentence.contains("administrator") && !sentence.contains("notit"), "{sentence}");
}
