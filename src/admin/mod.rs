//! What an operator prepares: folders, keys, agreements, the broker, and who
//! takes part; and what an operator measures.

pub mod agreements;
pub mod bench;
pub mod credentials;
pub mod doctor;
pub mod joining;
pub mod prepare;
pub mod provision;
pub mod sandbox;
