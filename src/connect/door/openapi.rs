//! What the door says of itself: OpenAPI 3.1, made from the schemas and the
//! settings, and a page for people.

use super::draft::Form;
use super::events::MOST_RECORDS;
use super::{Shared, deliveries};
use crate::schema::EventSchema;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use std::sync::Arc;

const REFS: &str = "#/components/schemas/";

pub(super) async fn description(State(shared): State<Arc<Shared>>) -> Response {
    let made = shared.description.get_or_init(|| describe(&shared).to_string().into());
    ([(header::CONTENT_TYPE, "application/json")], made.clone()).into_response()
}

/// The whole description.
fn describe(shared: &Shared) -> Value {
    let mut schemas = common_schemas();
    let mut paths = Map::new();
    let mut newest: Vec<&Arc<EventSchema>> = Vec::new();
    for schema in shared.schemas() {
        match newest.last_mut() {
            Some(last) if last.event_type() == schema.event_type() => *last = schema,
            _ => newest.push(schema),
        }
    }
    for schema in newest {
        paths.insert(format!("/events/{}", schema.event_type()), post_events(shared, schema, &mut schemas));
    }
    if shared.held.is_some() {
        paths.insert("/deliveries".to_owned(), get_deliveries(shared));
        paths.insert("/deliveries/ack".to_owned(), acknowledge(shared));
    }
    let json = |schema: Value| json!({ "application/json": { "schema": schema } });
    let open = |id: &str, summary: &str, content: Value| {
        let mut responses = json!({ "200": { "description": "It is so.", "content": content } });
        add_common(shared, &mut responses, false);
        json!({ "get": { "operationId": id, "summary": summary, "security": [], "responses": responses } })
    };
    paths.insert(
        "/openapi.json".to_owned(),
        open("description", "This description.", json(json!({ "type": "object" }))),
    );
    let text = json!({ "text/plain": { "schema": { "type": "string" } } });
    paths.insert("/".to_owned(), open("page", "What this is, for people.", text));
    let health = json(json!({ "$ref": format!("{REFS}Health") }));
    let mut health_path = open("health", "Whether events can be posted and received.", health.clone());
    health_path["get"]["responses"]["503"] =
        json!({ "description": "Something fails; `problems` says what.", "content": health });
    paths.insert("/health".to_owned(), health_path);

    let mut components = json!({ "schemas": schemas });
    let mut described = json!({
        "openapi": "3.1.0",
        "info": {
            "title": format!("The door of {} to the exchange {}", shared.signer.member, shared.signer.hub),
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Events are posted here and are safe once the answer is 202; what arrived is fetched, and \
                            acknowledged once it is handled. / Les événements se déposent ici et sont à l'abri dès la \
                            réponse 202 ; ce qui est arrivé se retire, puis s'acquitte une fois traité.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
    });
    if shared.token.is_some() {
        components["securitySchemes"] = json!({ "token": { "type": "http", "scheme": "bearer" } });
        described["security"] = json!([{ "token": [] }]);
    }
    described["components"] = components;
    described
}

/// Adds to the responses of an operation those that any may give.
fn add_common(shared: &Shared, responses: &mut Value, guarded: bool) {
    if shared.token.is_none() {
        responses["421"] =
            problem("Without a token the door is called by its address, and not by another name.");
    } else if guarded {
        responses["401"] = problem("The token is missing, or isn't the one.");
    }
}

fn problem(description: &str) -> Value {
    json!({
        "description": description,
        "content": { "application/problem+json": { "schema": { "$ref": format!("{REFS}Problem") } } },
    })
}

fn later(description: &str) -> Value {
    let mut response = problem(description);
    response["headers"] = json!({
        "Retry-After": { "description": "After how many seconds.", "schema": { "type": "integer" } },
    });
    response
}

fn post_events(shared: &Shared, schema: &EventSchema, schemas: &mut Map<String, Value>) -> Value {
    let event_type = schema.event_type();
    let form = shared.form(event_type);
    let name = format!("posted.{event_type}");
    let posted = match form {
        Form::Harmonised { .. } => harmonised(schema, schemas),
        Form::Mapped { connector, stream, .. } => {
            let source = &connector.sources[*stream];
            json!({
                "type": "object",
                "description": format!(
                    "A record as the software has it: the connector {} maps it ({}). {}",
                    connector.name, source.mapping.name(), connector.description
                ),
            })
        }
    };
    schemas.insert(name.clone(), posted);
    let one = json!({ "$ref": format!("{REFS}{name}") });
    let versions: Vec<u32> = match form.version() {
        Some(version) => vec![version],
        None => (1..=schema.version()).collect(),
    };
    let mut responses = json!({
        "202": {
            "description": "Every event is safe: the hub's broker has confirmed it. / Chaque événement est à l'abri.",
            "content": { "application/json": { "schema": { "$ref": format!("{REFS}Accepted") } } },
        },
        "400": problem("The request isn't of its form: no JSON, an unknown parameter."),
        "404": problem("There is no such event type or version; names that are near are told."),
        "408": problem("The request didn't come whole in time."),
        "413": problem(&format!("The request is larger than {} MiB.", shared.settings.request_mib)),
        "415": problem("The content isn't application/json."),
        "422": problem("Fields are wrong, each is named, and nothing was taken; or the Idempotency-Key came before with other content."),
        "503": later("It can't be taken now. Part of it may have been: send the same again, with the same key."),
    });
    add_common(shared, &mut responses, true);
    json!({ "post": {
        "operationId": format!("post-{event_type}"),
        "summary": format!("Post {event_type}, one record or up to {MOST_RECORDS}."),
        "description": schema.doc(),
        "parameters": [
            {
                "name": "version", "in": "query",
                "description": format!("The schema's version; {} where it is left out.", versions.last().copied().unwrap_or(1)),
                "schema": { "type": "integer", "enum": versions },
            },
            {
                "name": "Idempotency-Key", "in": "header",
                "description": format!(
                    "A key of your own for this request, a UUID for instance. The same content sent again with the same \
                     key, within {} days, makes no second event.",
                    shared.settings.remember_days
                ),
                "schema": {
                    "type": "string",
                    "pattern": "^([A-Za-z0-9._~:-]{1,128}|\"[A-Za-z0-9._~:-]{1,128}\")$",
                },
            },
        ],
        "requestBody": { "required": true, "content": { "application/json": { "schema": { "anyOf": [
            one,
            { "type": "array", "items": one, "minItems": 1, "maxItems": MOST_RECORDS },
        ] } } } },
        "responses": responses,
    } })
}

/// A harmonised record, with the attributes of its event.
fn harmonised(schema: &EventSchema, schemas: &mut Map<String, Value>) -> Value {
    let kinds: Vec<&str> = schema.subject_kinds().map(|(kind, _)| kind).collect();
    let mut data = schema.json_schema(REFS, schemas);
    data["description"] = json!("The event's own fields. / Les champs de l'événement.");
    json!({
        "type": "object",
        "required": ["subject", "time", "data"],
        "additionalProperties": false,
        "properties": {
            "subject": {
                "type": "object",
                "description": "What it is about, by your own identifier. / Son objet, par votre propre identifiant.",
                "required": ["kind", "id"],
                "additionalProperties": false,
                "properties": {
                    "kind": { "type": "string", "enum": kinds },
                    "id": { "type": "string", "pattern": "^[A-Za-z0-9._-][A-Za-z0-9._~-]{0,127}$" },
                },
            },
            "time": {
                "type": "string",
                "format": "date-time",
                "description": "When what it says happened, with its offset; never in the future. / Quand cela s'est \
                                passé, avec son décalage ; jamais dans le futur.",
                "examples": ["2026-03-14T08:12:45+11:00"],
            },
            "key": {
                "type": "string",
                "minLength": 1,
                "maxLength": 256,
                "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$",
                "description": "What names the record in your software, where the subject doesn't. / Ce qui nomme \
                                l'enregistrement dans votre logiciel, si l'objet n'y suffit pas.",
            },
            "data": data,
        },
    })
}

fn get_deliveries(shared: &Shared) -> Value {
    let parameter = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "query", "description": description, "schema": schema });
    let mut responses = json!({
        "200": {
            "description": "What follows; empty where nothing arrived within `wait`.",
            "content": { "application/json": { "schema": { "$ref": format!("{REFS}Deliveries") } } },
            "links": {
                "next": { "operationId": "deliveries", "parameters": { "after": "$response.body#/next" } },
                "acknowledge": { "operationId": "acknowledge", "requestBody": {
                    "epoch": "$response.body#/deliveries/0/epoch",
                    "sequence": "$response.body#/deliveries/0/sequence",
                } },
            },
        },
        "400": problem("A parameter isn't of its form."),
        "410": problem("What follows `after` was acknowledged and is no longer here."),
        "503": later("The member's store failed."),
    });
    add_common(shared, &mut responses, true);
    json!({ "get": {
        "operationId": "deliveries",
        "summary": "What arrived after a cursor, in the order of the hub's numbers.",
        "description": "Reading changes nothing: the same comes again until it is acknowledged. Keep `next`, in the same \
                        transaction as what you make of the deliveries, and go on after it: so each is handled once.",
        "parameters": [
            parameter(
                "after",
                "The cursor of the last delivery that you handled; left out: from the first that isn't acknowledged.",
                json!({ "$ref": format!("{REFS}Cursor") }),
            ),
            parameter("max", "How many at most.", json!({
                "type": "integer", "minimum": 1, "maximum": deliveries::MOST, "default": deliveries::USUAL,
            })),
            parameter("wait", "How many seconds to wait where nothing is there yet.", json!({
                "type": "integer", "minimum": 0, "maximum": shared.settings.wait_seconds, "default": 0,
            })),
        ],
        "responses": responses,
    } })
}

fn acknowledge(shared: &Shared) -> Value {
    let mut responses = json!({
        "200": {
            "description": "Everything up to that number is done with, and is no longer here.",
            "content": { "application/json": { "schema": {
                "type": "object",
                "required": ["acknowledged"],
                "properties": { "acknowledged": { "$ref": format!("{REFS}Cursor") } },
            } } },
        },
        "400": problem("The request isn't JSON."),
        "408": problem("The request didn't come whole in time."),
        "409": problem("Nothing has arrived under that number."),
        "413": problem("The request is too large."),
        "415": problem("The content isn't application/json."),
        "422": problem("A field is wrong."),
        "503": later("The member's store failed."),
    });
    add_common(shared, &mut responses, true);
    json!({ "post": {
        "operationId": "acknowledge",
        "summary": "Acknowledge every delivery up to and including a number.",
        "requestBody": { "required": true, "content": { "application/json": { "schema": {
            "type": "object",
            "required": ["epoch", "sequence"],
            "additionalProperties": false,
            "properties": {
                "epoch": { "type": "integer", "minimum": 1, "maximum": u32::MAX },
                "sequence": { "type": "integer", "minimum": 1, "maximum": 9_000_000_000_000_000_u64 },
            },
        } } } },
        "responses": responses,
    } })
}

fn common_schemas() -> Map<String, Value> {
    let text = || json!({ "type": "string" });
    let schemas = json!({
        "Accepted": {
            "type": "object",
            "required": ["events"],
            "properties": { "events": { "type": "array", "items": {
                "type": "object",
                "required": ["record", "id", "source"],
                "properties": {
                    "record": { "type": "integer", "minimum": 0, "description": "The record's position in the request, from 0." },
                    "id": text(),
                    "source": text(),
                },
            } } },
        },
        "Cursor": { "type": "string", "pattern": "^(0|[1-9][0-9]{0,8})-(0|[1-9][0-9]{0,17})$", "examples": ["1-42"] },
        "Deliveries": {
            "type": "object",
            "required": ["deliveries", "next"],
            "properties": {
                "deliveries": { "type": "array", "items": { "$ref": format!("{REFS}Delivery") } },
                "next": { "$ref": format!("{REFS}Cursor") },
            },
        },
        "Delivery": {
            "type": "object",
            "required": ["cursor", "epoch", "sequence", "type", "source", "id", "subject", "time", "agreement"],
            "properties": {
                "cursor": { "$ref": format!("{REFS}Cursor") },
                "epoch": { "type": "integer", "minimum": 1 },
                "sequence": { "type": "integer", "minimum": 1 },
                "type": text(),
                "source": text(),
                "id": text(),
                "subject": { "type": ["string", "null"], "description": "None on the hub's own messages." },
                "time": text(),
                "agreement": { "type": ["string", "null"], "description": "Under which agreement, ID:VERSION." },
                "data": { "type": "object", "description": "The event's fields, those that the agreement grants." },
                "records": { "type": "array", "description": "In place of data, what the inbox's mapping makes of it." },
            },
        },
        "Health": {
            "type": "object",
            "required": ["status"],
            "properties": {
                "status": { "enum": ["ok", "failing"] },
                "problems": { "type": "array", "items": text() },
            },
        },
        "Problem": {
            "type": "object",
            "description": "RFC 9457.",
            "required": ["title", "status", "detail"],
            "properties": {
                "title": text(),
                "status": { "type": "integer" },
                "detail": { "type": "string", "description": "A sentence that says what to do." },
                "errors": { "type": "array", "items": {
                    "type": "object",
                    "required": ["record", "field", "message"],
                    "properties": {
                        "record": { "type": "integer", "minimum": 0 },
                        "field": text(),
                        "message": text(),
                    },
                } },
            },
        },
    });
    match schemas {
        Value::Object(schemas) => schemas,
        _ => Map::new(),
    }
}

pub(super) async fn page(State(shared): State<Arc<Shared>>) -> Response {
    let member = &shared.signer.member;
    let address = shared.settings.listen;
    let bearer = match shared.token {
        Some(_) => " \\\n    -H \"Authorization: Bearer $TOKEN\"",
        None => "",
    };
    let mut text = format!(
        "The door of {member} to the exchange {hub}.\n\n\
         Post an event; it is safe once the answer is 202:\n\n\
         \x20 curl http://{address}/events/nc.identity.account.verified{bearer} \\\n\
         \x20   -H 'Content-Type: application/json' -H \"Idempotency-Key: $(uuidgen)\" \\\n\
         \x20   -d '{{\"subject\": {{\"kind\": \"person\", \"id\": \"4711\"}}, \"time\": \"2026-03-14T08:12:45+11:00\",\n\
         \x20        \"data\": {{\"person\": {{\"given_names\": [\"Marie\"], \"family_name\": \"Kaoline\"}}, \"level\": \"declared\"}}}}'\n\n",
        hub = shared.signer.hub,
    );
    if shared.held.is_some() {
        text.push_str(&format!(
            "Fetch what arrived, and acknowledge what is handled:\n\n\
             \x20 curl 'http://{address}/deliveries?max=100&wait=30'{bearer}\n\
             \x20 curl http://{address}/deliveries/ack{bearer} \\\n\
             \x20   -H 'Content-Type: application/json' -d '{{\"epoch\": 1, \"sequence\": 42}}'\n\n"
        ));
    }
    text.push_str("What can be posted:\n\n");
    let mut before = None;
    for schema in shared.schemas() {
        if before.replace(schema.event_type()) != Some(schema.event_type()) {
            let form = match shared.form(schema.event_type()) {
                Form::Harmonised { .. } => "harmonised",
                Form::Mapped { connector, .. } => &connector.name,
            };
            text.push_str(&format!("  {}  ({form})\n", schema.event_type()));
        }
    }
    text.push_str("\nAll of it, with every field: /openapi.json. How it is: /health.\n");
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}
