//! How a broker is: its clock, its nodes, their alarms.

use super::{ManageFault, Management};
use reqwest::Method;
use serde::Deserialize;

/// A node of a broker.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Node {
    /// Its name, `rabbit@broker` for instance.
    pub name: String,
    /// Whether it runs.
    #[serde(default)]
    pub running: bool,
    /// Whether it lacks memory, and so takes nothing from who publishes.
    #[serde(default)]
    pub mem_alarm: bool,
    /// Whether it lacks disk space, and so takes nothing from who publishes.
    #[serde(default)]
    pub disk_free_alarm: bool,
}

impl Management {
    /// The broker's nodes.
    pub async fn nodes(&self) -> Result<Vec<Node>, ManageFault> {
        self.list(&["nodes"], "list its nodes").await
    }

    /// What the broker's clock shows, by the `Date` of an answer (RFC 9110
    /// section 6.6.1), to the second. None where the answer has none.
    pub async fn clock(&self) -> Result<Option<jiff::Timestamp>, ManageFault> {
        let answer = self.call(Method::GET, &["overview"], None, "tell the time").await?;
        let date = answer.as_ref().and_then(|answer| answer.headers().get("date")?.to_str().ok());
        Ok(date.and_then(http_date))
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7).
fn http_date(text: &str) -> Option<jiff::Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_http_is_read() {
        // The example of RFC 9110.
        let time = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(time.as_second(), 784_111_777);
        assert_eq!(http_date("yesterday"), None);
    }
}
