//! A page: Boost's envelope around rows that are made while it is written.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::ser::{Serialize, SerializeSeq, Serializer};

use super::draw::{self, Draw};
use super::query::{Order, Query};
use super::served::Table;
use super::server::BoostConfig;
use super::{Jobseeker, Offer};

/// A table as an address names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableName {
    /// Rows as they are.
    Rows(Table),
    /// Rows as they were entered: each with its `_operation`.
    Log(Table),
}

const NAMES: [(&str, TableName); 4] = [
    ("offre_emploi", TableName::Rows(Table::Offers)),
    ("olap_offre_emploi_log", TableName::Log(Table::Offers)),
    ("demandeur_emploi", TableName::Rows(Table::Jobseekers)),
    ("olap_demandeur_emploi_log", TableName::Log(Table::Jobseekers)),
];

impl TableName {
    pub(super) fn parse(text: &str) -> Option<TableName> {
        NAMES.iter().find(|(name, _)| *name == text).map(|&(_, table)| table)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            TableName::Rows(Table::Offers) => NAMES[0].0,
            TableName::Log(Table::Offers) => NAMES[1].0,
            TableName::Rows(Table::Jobseekers) => NAMES[2].0,
            TableName::Log(Table::Jobseekers) => NAMES[3].0,
        }
    }

    pub(super) fn list() -> String {
        NAMES.map(|(name, _)| name).join(", ")
    }

    pub(super) fn table(self) -> Table {
        match self {
            TableName::Rows(table) | TableName::Log(table) => table,
        }
    }
}

/// A page that is to be written.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    database: &'static str,
    schema: &'static str,
    table: &'static str,
    hash: String,
    uris: Uris,
    query_timestamp: String,
    /// As they were given, without the API key.
    params_query: BTreeMap<String, String>,
    has_next_page: bool,
    params_next_page_query: Option<Next>,
    data: Rows,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Uris {
    data_uri: String,
    swagger_uri: String,
    open_api_uri: String,
    metadata_uri: String,
}

/// What is merged into the query for the next page.
#[derive(serde::Serialize)]
enum Next {
    #[serde(rename = "id|Gt")]
    After(String),
    #[serde(rename = "start")]
    Start(usize),
}

struct Rows {
    seed: u64,
    name: TableName,
    rows: Range<usize>,
}

/// A row of a log: the row, and what was done to it.
#[derive(serde::Serialize)]
struct Logged<R> {
    #[serde(flatten)]
    row: R,
    #[serde(rename = "_operation")]
    operation: &'static str,
}

impl Serialize for Rows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(self.rows.len()))?;
        let operation = "INSERT";
        for row in self.rows.clone() {
            match self.name {
                TableName::Rows(Table::Offers) => sequence.serialize_element(&Offer::row(self.seed, row))?,
                TableName::Rows(Table::Jobseekers) => {
                    sequence.serialize_element(&Jobseeker::row(self.seed, row))?;
                }
                TableName::Log(Table::Offers) => {
                    sequence.serialize_element(&Logged { row: Offer::row(self.seed, row), operation })?;
                }
                TableName::Log(Table::Jobseekers) => {
                    sequence.serialize_element(&Logged { row: Jobseeker::row(self.seed, row), operation })?;
                }
            }
        }
        sequence.end()
    }
}

impl Page {
    /// The page of `rows` out of `total`, in answer to `query`, whose
    /// parameters without the key are `parameters`.
    pub(super) fn new(
        config: &BoostConfig,
        url: &str,
        name: TableName,
        rows: Range<usize>,
        total: usize,
        query: &Query,
        parameters: BTreeMap<String, String>,
    ) -> Page {
        let more = rows.end < total;
        let next = match &query.order {
            _ if !more => None,
            Order::Id { .. } => rows.clone().last().map(|last| {
                Next::After(match name.table() {
                    Table::Offers => Offer::id(config.seed, last),
                    Table::Jobseekers => Jobseeker::id(config.seed, last),
                })
            }),
            Order::Date { start, .. } => Some(Next::Start(start + rows.len())),
        };
        // Of the rows and of how many there are: a new row further on changes
        // the first page's too.
        let table = name.as_str();
        let what = ((table.len() as u64) << 32) | rows.start as u64;
        let mut seal = Draw::of(config.seed ^ total as u64, what, rows.end as u64);
        let uri = |what: &str| format!("{url}/drhouseweb/api/GOUV_WEB/societe/{table}/{what}");
        Page {
            database: "GOUV_WEB",
            schema: "societe",
            table,
            hash: draw::hex32(seal.next(), seal.next()),
            uris: Uris {
                data_uri: uri("data"),
                swagger_uri: uri("swagger"),
                open_api_uri: uri("openapi"),
                metadata_uri: uri("metadata"),
            },
            query_timestamp: draw::now(),
            params_query: parameters,
            has_next_page: more,
            params_next_page_query: next,
            data: Rows { seed: config.seed, name, rows },
        }
    }

    /// Changes with the rows and with how many there are.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }

    /// The rows that are in the page.
    pub(super) fn rows(&self) -> Range<usize> {
        self.data.rows.clone()
    }

    /// The page, written. Some microseconds a row.
    pub(super) fn json(&self) -> serde_json::Result<Vec<u8>> {
        let mut body = Vec::with_capacity(1_024 + self.data.rows.len() * 1_600);
        serde_json::to_writer(&mut body, self)?;
        Ok(body)
    }
}
