//! Lists of a batch's row in which neighbours are alike, written as runs: for
//! `serde(with = …)`.
//!
//! Where each stands alone a list is written as it always was, so that rows of
//! any age are read.

use serde::de::{Deserialize, DeserializeOwned, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeSeq, Serializer};
use std::fmt;
use std::marker::PhantomData;

/// The most that a list is read as: no batch has as many events.
const MOST: usize = 1 << 20;

/// An item of a list that is written alone as `Self`, and in a run as `Run`.
pub(super) trait Item: Copy + PartialEq + Serialize + DeserializeOwned {
    /// A run of items that are alike, as it is written.
    type Run: Serialize;
    /// How `count` of them are written.
    fn run(self, count: usize) -> Self::Run;
}

/// The class and the length of an event: `[CLASS, LENGTH]`, or
/// `[CLASS, LENGTH, COUNT]`.
impl Item for (u16, u32) {
    type Run = (u16, u32, usize);
    fn run(self, count: usize) -> Self::Run {
        (self.0, self.1, count)
    }
}

/// A number: itself, or `[NUMBER, COUNT]`.
impl Item for u16 {
    type Run = (u16, usize);
    fn run(self, count: usize) -> Self::Run {
        (self, count)
    }
}

pub(super) fn serialize<T: Item, S: Serializer>(list: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    let mut out = serializer.serialize_seq(None)?;
    for run in list.chunk_by(PartialEq::eq) {
        match run {
            [alone] => out.serialize_element(alone)?,
            run => out.serialize_element(&run[0].run(run.len()))?,
        }
    }
    out.end()
}

pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Item,
    Run<T>: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Runs<T>(PhantomData<T>);
    impl<'de, T: Item> Visitor<'de> for Runs<T>
    where
        Run<T>: Deserialize<'de>,
    {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of items and runs")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::with_capacity(items.size_hint().unwrap_or(0).min(MOST));
            while let Some(Run(item, count)) = items.next_element()? {
                if count > MOST - list.len().min(MOST) {
                    return Err(serde::de::Error::custom("a run is longer than any batch"));
                }
                list.resize(list.len() + count, item);
            }
            Ok(list)
        }
    }
    deserializer.deserialize_seq(Runs(PhantomData))
}

/// An item and how many of them there are.
pub(super) struct Run<T>(T, usize);

impl<'de> Deserialize<'de> for Run<u16> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = Run<u16>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a number and how many of it")
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Run<u16>, E> {
                let number = u16::try_from(number).map_err(|_| E::custom("a number above 65,535"))?;
                Ok(Run(number, 1))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Run<u16>, A::Error> {
                let missing = || serde::de::Error::custom("a run has a number and a count");
                let number = parts.next_element()?.ok_or_else(missing)?;
                Ok(Run(number, parts.next_element()?.ok_or_else(missing)?))
            }
        }
        deserializer.deserialize_any(One)
    }
}

impl<'de> Deserialize<'de> for Run<(u16, u32)> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = Run<(u16, u32)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a class, a length, and how many of them")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
                let missing = || serde::de::Error::custom("an event has a class and a length");
                let class = parts.next_element()?.ok_or_else(missing)?;
                let length = parts.next_element()?.ok_or_else(missing)?;
                Ok(Run((class, length), parts.next_element()?.unwrap_or(1)))
            }
        }
        deserializer.deserialize_seq(One)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Lists {
        #[serde(with = "super")]
        events: Vec<(u16, u32)>,
        #[serde(with = "super")]
        signed: Vec<u16>,
    }

    #[test]
    fn what_is_alike_is_written_once() {
        let lists = Lists { events: vec![(0, 0); 256], signed: vec![3; 256] };
        assert_eq!(serde_json::to_string(&lists).unwrap(), r#"{"events":[[0,0,256]],"signed":[[3,256]]}"#);
    }

    #[test]
    fn lists_from_before_there_were_runs_are_read() {
        let lists: Lists =
            serde_json::from_str(r#"{"events":[[0,10],[0,10],[1,7]],"signed":[0,0,1]}"#).unwrap();
        assert_eq!(lists, Lists { events: vec![(0, 10), (0, 10), (1, 7)], signed: vec![0, 0, 1] });
    }

    #[test]
    fn a_damaged_run_takes_no_memory() {
        for text in [
            r#"{"events":[[0,0,18446744073709551615]],"signed":[]}"#,
            r#"{"events":[],"signed":[[0,1048577]]}"#,
            r#"{"events":[],"signed":[[0,1048576],[0,2]]}"#,
            r#"{"events":[[0]],"signed":[]}"#,
            r#"{"events":[],"signed":[65536]}"#,
        ] {
            assert!(serde_json::from_str::<Lists>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_lists_read_back(
            events in prop::collection::vec((0..3u16, 0..3u32), 0..60),
            signed in prop::collection::vec(0..2u16, 0..60),
        ) {
            let lists = Lists { events, signed };
            let text = serde_json::to_vec(&lists).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Lists>(&text).unwrap(), lists);
        }
    }
}
