//! An HTTP server that answers as Boost does, over synthetic people.
//!
//! Boost is the province Sud's employment software. What is public of it is
//! its offers: the two tables, the envelope, both kinds of paging, an HTTP 500
//! now and then. The table of jobseekers and its log are *assumed*, in the
//! same style: nothing of Boost's is public there.
//!
//! **Nobody here exists.** Names, dates, addresses, telephones and companies
//! are drawn from a seed; the French mobile numbers are of the range that is
//! kept for fiction (06 39 98), the addresses are at example.org.
//!
//! A row is a function of the seed and its number: any page is made when it is
//! asked for, no row is kept, and the same seed gives the same rows on every
//! machine.

mod draw;
mod names;
mod offers;
mod page;
mod people;
mod places;
mod query;
mod served;
mod server;
mod work;

pub use offers::Offer;
pub use people::Jobseeker;
pub use served::{Served, Table};
pub use server::{BoostConfig, BoostFault, BoostServer};

use serde::Serialize;

/// The most rows that a table may hold.
pub const MAX_ROWS: usize = 500_000;

/// The most rows in a page, whatever `_limit` asks for.
pub const MAX_PAGE: usize = 1_000;

/// A `{code,label}` object, as Boost writes everything that comes from a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Labelled {
    /// The code: an official one for occupations and countries, Boost's own for
    /// communes, which are names in capitals.
    pub code: &'static str,
    /// The label, in French.
    pub label: &'static str,
}
