//! The server over real HTTP.

use super::*;
use serde_json::Value;

const KEY: &str = "clé-1";

async fn start(offers: usize, jobseekers: usize, errors: bool) -> (BoostServer, reqwest::Client) {
    // Several tests may come first; one of them installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let api_key = KEY.to_owned();
    let config = BoostConfig { seed: 9, offers, jobseekers, page: 50, api_key, errors };
    let server = BoostServer::start("127.0.0.1:0".parse().unwrap(), config).await.unwrap();
    (server, reqwest::Client::new())
}

async fn get(
    client: &reqwest::Client,
    server: &BoostServer,
    table: &str,
    query: &[(String, String)],
) -> (u16, Value) {
    let url = format!("{}/drhouseweb/api/GOUV_WEB/societe/{table}/data", server.url());
    let answer = client.get(url).query(query).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
}

/// Follows the pages to the last, trying again at a 500; gives the rows and the failures.
async fn all(
    server: &BoostServer,
    client: &reqwest::Client,
    table: &str,
    order: &str,
) -> (Vec<Value>, usize) {
    let first = pairs(&[("apiKey", KEY), ("_order", order)]);
    let (mut query, mut rows, mut failures, mut before) = (first.clone(), Vec::new(), 0, 200);
    loop {
        let (status, page) = get(client, server, table, &query).await;
        if status == 500 {
            assert_ne!(before, 500, "twice in a row for one query");
            (failures, before) = (failures + 1, 500);
            continue;
        }
        assert_eq!(status, 200, "{page}");
        before = 200;
        rows.extend_from_slice(page["data"].as_array().unwrap());
        if !page["hasNextPage"].as_bool().unwrap() {
            assert!(page["paramsNextPageQuery"].is_null());
            return (rows, failures);
        }
        query = first.clone();
        for (name, value) in page["paramsNextPageQuery"].as_object().unwrap() {
            query.push((name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
        }
    }
}

#[tokio::test]
async fn a_load_of_each_table_in_each_order_gives_every_row_once_in_order() {
    let (server, client) = start(230, 101, false).await;
    for (table, of) in [("offre_emploi", Table::Offers), ("demandeur_emploi", Table::Jobseekers)] {
        for order in ["id", "_operation_date"] {
            let (rows, _) = all(&server, &client, table, order).await;
            let ids: Vec<String> = rows.iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect();
            let expected: Vec<String> = (0..server.rows(of)).map(|row| server.id(of, row)).collect();
            assert_eq!(ids, expected, "{table} by {order}");
            let dates: Vec<&str> = rows.iter().map(|r| r["_operation_date"].as_str().unwrap()).collect();
            assert!(dates.is_sorted(), "{table}");
        }
        assert_eq!(server.served().count(of), server.rows(of));
    }
    assert_eq!(all(&server, &client, "demandeur_emploi", "id").await.0[7], server.jobseeker(7));
    assert_eq!(all(&server, &client, "offre_emploi", "id").await.0[7], server.offer(7));
    server.shutdown().await;
}

#[tokio::test]
async fn the_log_adds_the_operation_and_pages_by_start_from_a_day() {
    let (server, client) = start(900, 0, false).await;
    let day = ("_operation_date|datetimeGt", "2019-01-09");
    let query = pairs(&[("apiKey", KEY), ("_order", "_operation_date"), day, ("start", "50")]);
    let (status, page) = get(&client, &server, "olap_offre_emploi_log", &query).await;
    assert_eq!(status, 200);
    let rows = page["data"].as_array().unwrap();
    assert!(rows.iter().all(|r| r["_operation"] == "INSERT"));
    assert!(rows[0]["_operation_date"].as_str().unwrap() > "2019-01-09T00:00:00+11:00");
    assert_eq!(page["paramsNextPageQuery"], serde_json::json!({"start": 100}));
    let first = server.row_of(Table::Offers, rows[0]["id"].as_str().unwrap()).unwrap();
    let skipped = server.offer(first - 50)["_operation_date"].as_str().unwrap().to_owned();
    let before = server.offer(first - 51)["_operation_date"].as_str().unwrap().to_owned();
    assert!(skipped.as_str() > "2019-01-09T00:00:00" && before.as_str() < "2019-01-09T00:00:00");
}

#[tokio::test]
async fn the_envelope_has_boosts_members_and_never_the_key() {
    let (server, client) = start(3, 0, false).await;
    let (_, page) = get(&client, &server, "offre_emploi", &pairs(&[("apiKey", KEY), ("_order", "id")])).await;
    let names: Vec<&str> = page.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        names.join(" "),
        "database schema table hash uris queryTimestamp paramsQuery hasNextPage paramsNextPageQuery data"
    );
    assert_eq!(page["paramsQuery"], serde_json::json!({"_order": "id"}));
    assert!(!page.to_string().contains(KEY));
    assert!(!format!("{:?}", server.shared.config).contains(KEY));
}

#[tokio::test]
async fn without_the_key_or_with_another_nothing_is_served() {
    let (server, client) = start(3, 3, false).await;
    for query in [pairs(&[]), pairs(&[("apiKey", "another")])] {
        let (status, answer) = get(&client, &server, "offre_emploi", &query).await;
        assert_eq!((status, &answer["status"]), (401, &serde_json::json!(401)));
    }
    assert_eq!(get(&client, &server, "employeur", &pairs(&[("apiKey", KEY)])).await.0, 404);
    let query = pairs(&[("apiKey", KEY), ("_ordre", "id")]);
    assert_eq!(get(&client, &server, "offre_emploi", &query).await.0, 400);
    let served = server.served();
    assert_eq!((served.count(Table::Offers), served.pages(), served.refusals()), (0, 0, 2));
}

#[tokio::test]
async fn failures_come_now_and_then_and_the_load_is_whole_for_who_tries_again() {
    let (server, client) = start(6_000, 0, true).await;
    let (rows, failures) = all(&server, &client, "offre_emploi", "id").await;
    assert_eq!(rows.len(), 6_000);
    assert!((1..=20).contains(&failures), "{failures} of 120");
    assert_eq!(server.served().failures(), failures as u64);
}

#[tokio::test]
async fn a_trickle_is_seen_by_a_later_query_and_changes_the_first_pages_etag() {
    let (server, client) = start(80, 2, false).await;
    let url = format!("{}/drhouseweb/api/GOUV_WEB/societe/offre_emploi/data", server.url());
    let ask = |etag: Option<String>| {
        let request = client.get(&url).query(&[("apiKey", KEY), ("_order", "id")]);
        match etag {
            Some(etag) => request.header("if-none-match", etag).send(),
            None => request.send(),
        }
    };
    let first = ask(None).await.unwrap();
    let etag = first.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(ask(Some(etag.clone())).await.unwrap().status(), 304);
    server.add_trickle();
    assert_eq!(ask(Some(etag)).await.unwrap().status(), 200);
    let query = pairs(&[("apiKey", KEY), ("id|Gt", &server.id(Table::Offers, 79))]);
    let (_, page) = get(&client, &server, "offre_emploi", &query).await;
    assert_eq!(page["data"][0]["id"], server.id(Table::Offers, 80));
    assert_eq!((server.rows(Table::Offers), server.rows(Table::Jobseekers)), (81, 3));
    assert_eq!(server.row_of(Table::Offers, &server.id(Table::Offers, 80)), Some(80));
    assert_eq!(server.row_of(Table::Offers, "0"), None);
}

#[tokio::test]
async fn a_port_in_use_and_bad_settings_each_give_a_sentence() {
    let (server, _) = start(0, 0, false).await;
    let address: SocketAddr = server.url().trim_start_matches("http://").parse().unwrap();
    let good = BoostConfig { api_key: KEY.into(), ..BoostConfig::default() };
    let fault = async |address, config| match BoostServer::start(address, config).await {
        Ok(_) => panic!("it started"),
        Err(fault) => fault.to_string(),
    };
    assert!(fault(address, good.clone()).await.contains("in use"));
    let free = "127.0.0.1:0".parse().unwrap();
    let many = BoostConfig { offers: MAX_ROWS + 1, ..good.clone() };
    assert!(fault(free, many).await.contains("500001 rows"));
    assert!(fault(free, BoostConfig { page: 0, ..good }).await.contains("page of 0"));
    assert!(fault(free, BoostConfig::default()).await.contains("API key is empty"));
}

#[tokio::test]
async fn a_server_that_was_shut_down_answers_no_more() {
    let (server, client) = start(1, 1, false).await;
    let url = server.url().to_owned();
    assert!(client.get(&url).send().await.is_ok());
    server.shutdown().await;
    assert!(client.get(&url).send().await.is_err());
}
