//! Pirogue: a hub over which administrations exchange signed events, field by
//! field, as their signed agreements say.
//!
//! # Layout
//!
//! The crate is a house of rooms on floors. A room uses only what the table
//! names; `tests/layers.rs` reads every `crate::ROOM` path and fails on an
//! arrow that isn't here. ARCHITECTURE.md says why.
//!
//! | floor | room | its job | may use |
//! | --- | --- | --- | --- |
//! | 0 | [`event`] | CloudEvents attributes, the message, wire bytes | – |
//! | 0 | [`fault`] | what can go wrong: reasons, exit codes | – |
//! | 0 | [`config`] | typed settings over an embedded `default.toml` | – |
//! | 0 | [`metrics`] | every metric's name, unit and help in one place | – |
//! | 0 | [`tasks`] | work for all cores in the order of a batch, and being told to stop | – |
//! | 1 | [`keys`] | key files, JWK, thumbprints, JWS, signed notes | floor 0 |
//! | 1 | [`seal`] | sealing at rest, HMACs, secrets | floor 0 |
//! | 1 | [`schema`] | the registry, codec, value rules, projection | floor 0 |
//! | 1 | [`store`] | segments, slots, ids, state, HEAD, the committer | floor 0, `seal` |
//! | 1 | [`bus`] | the `Bus` trait, the embedded bus, RabbitMQ | floor 0, `store` |
//! | 2 | [`members`] | who takes part, their keys over time | floor 0, `keys`, `store` |
//! | 2 | [`agreements`] | signed agreements, what each grants | floor 0, `keys`, `schema`, `store`, `members` |
//! | 2 | [`journal`] | entries, the Merkle tree, tiles, checkpoints, proofs | floor 0, `keys`, `store` |
//! | 2 | [`persons`] | pairwise identifiers, links | floor 0, `seal`, `store`, `journal` |
//! | 3 | [`hub`] | intake, release, quarantine | floors 0–2 |
//! | 3 | [`connect`] | connectors, mapping, checkpoints, the member's inbox | floors 0–1, `members` |
//! | 4 | [`ops`] | the operator's socket, health, metrics | floors 0–3 |
//! | 4 | [`admin`] | provision, joining, doctor, sandbox, folders, keys, benches | floors 0–3 |
//! | 4 | [`demo`] | the Boost-like server and the demo | floors 0–3, `ops`, `admin` |
//! | 5 | [`cli`] | one file per command | all |

pub mod admin;
pub mod agreements;
pub mod bus;
pub mod cli;
pub mod config;
pub mod connect;
pub mod demo;
pub mod event;
pub mod fault;
pub mod hub;
pub mod journal;
pub mod keys;
pub mod members;
pub mod metrics;
pub mod ops;
pub mod persons;
pub mod schema;
pub mod seal;
pub mod store;
pub mod tasks;
