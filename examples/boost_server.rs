//! Starts the Boost-like server alone, to try a connector on it or to look at
//! what Boost answers:
//!
//! ```sh
//! cargo run --release --example boost_server -- --port 8099
//! ```
//!
//! Everyone in it is drawn from a seed: nobody there exists.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Parser;
use pirogue::demo::boost::{BoostConfig, BoostServer};

/// An HTTP server that answers as Boost does, over synthetic people.
#[derive(Parser)]
#[command(name = "boost_server")]
struct Options {
    /// The port to listen on, on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8099)]
    port: u16,
    /// How many offers there are.
    #[arg(long, default_value_t = 2_500)]
    offers: usize,
    /// How many jobseekers there are.
    #[arg(long, default_value_t = 2_500)]
    jobseekers: usize,
    /// The same seed gives the same rows.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The key that a query must carry as `apiKey`.
    #[arg(long, default_value = "demo")]
    api_key: String,
    /// Rows in a page, at most 1000. Boost's own is 50.
    #[arg(long, default_value_t = 500)]
    page: usize,
    /// Add a row to each table every so many seconds; 0 adds none.
    #[arg(long, default_value_t = 0)]
    trickle: u64,
    /// Never answer HTTP 500.
    #[arg(long)]
    no_errors: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let config = BoostConfig {
        seed: options.seed,
        offers: options.offers,
        jobseekers: options.jobseekers,
        page: options.page,
        api_key: options.api_key.clone(),
        errors: !options.no_errors,
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    let server = BoostServer::start(address, config).await?;

    let base = format!("{}/drhouseweb/api/GOUV_WEB/societe", server.url());
    let key = &options.api_key;
    println!("Listening on {}. Until Ctrl-C, try:", server.url());
    println!("  curl '{base}/offre_emploi/data?apiKey={key}&_order=id&_limit=2'");
    println!("  curl '{base}/demandeur_emploi/data?apiKey={key}&_order=_operation_date&_limit=2'");

    // An interval can't be of zero; the branch below is then never taken.
    let mut trickle = tokio::time::interval(Duration::from_secs(options.trickle.max(1)));
    loop {
        tokio::select! {
            stop = tokio::signal::ctrl_c() => break stop?,
            _ = trickle.tick(), if options.trickle > 0 => server.add_trickle(),
        }
    }
    server.shutdown().await;
    Ok(())
}
