//! How a member shows who it is.

use super::client::{from_driver_status, read_limited, refuse_plain, transport};
use super::settings::{ApiKeyPlace, Auth, HttpConnection};
use super::{DriverFault, Settings};
use crate::connect::drivers::SecretText;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{RequestBuilder, Url};
use std::time::{Duration, Instant};

/// A token's answer is small.
const MAX_TOKEN_ANSWER: u64 = 64 * 1024;
/// How long before its end a token is renewed.
const TOKEN_MARGIN: Duration = Duration::from_secs(30);

/// Credentials with their secrets, read once.
pub(super) enum Credentials {
    Fixed { name: String, token: Token },
    Client(Box<OauthClient>),
}

/// What is put on a request.
#[derive(Clone)]
pub(super) enum Token {
    None,
    Bearer(SecretText),
    Basic { user: String, password: SecretText },
    Query { name: String, key: SecretText },
    Header { name: String, key: SecretText },
}

pub(super) struct OauthClient {
    http: reqwest::Client,
    url: Url,
    id: String,
    name: String,
    secret: SecretText,
    scope: Option<String>,
    token: Option<(SecretText, Option<Instant>)>,
}

impl Credentials {
    pub fn new(
        connection: &HttpConnection,
        http: &reqwest::Client,
        settings: &Settings,
    ) -> Result<Credentials, DriverFault> {
        let find = |name: &str| settings.secrets.find(name);
        let fixed = |name: &str, token| Ok(Credentials::Fixed { name: name.to_owned(), token });
        match &connection.auth {
            Auth::None => fixed("(none)", Token::None),
            Auth::Bearer { secret } => fixed(secret, Token::Bearer(find(secret)?)),
            Auth::Basic { user, secret } => {
                let user = settings.fill(user, "http.auth.user")?;
                fixed(secret, Token::Basic { user, password: find(secret)? })
            }
            Auth::ApiKey { place: ApiKeyPlace::Query, name, secret } => {
                fixed(secret, Token::Query { name: name.clone(), key: find(secret)? })
            }
            Auth::ApiKey { place: ApiKeyPlace::Header, name, secret } => {
                let key = find(secret)?;
                let fits = HeaderName::from_bytes(name.as_bytes()).is_ok()
                    && HeaderValue::from_str(key.expose()).is_ok();
                if !fits {
                    return Err(DriverFault::halt(format!(
                        "http.auth.name or the secret {secret} holds a character that a header can't; correct it"
                    )));
                }
                fixed(secret, Token::Header { name: name.clone(), key })
            }
            Auth::Oauth2 { token_url, client_id, secret, scope } => {
                let url = settings.fill(token_url, "http.auth.token_url")?;
                let url = Url::parse(&url)
                    .ok()
                    .filter(|url| matches!(url.scheme(), "http" | "https"))
                    .ok_or_else(|| {
                        DriverFault::halt(
                            "http.auth.token_url isn't an http or https address; correct the setting",
                        )
                    })?;
                refuse_plain(&url, connection.plain_http, "http.auth.token_url")?;
                Ok(Credentials::Client(Box::new(OauthClient {
                    http: http.clone(),
                    url,
                    id: settings.fill(client_id, "http.auth.client_id")?,
                    name: secret.clone(),
                    secret: find(secret)?,
                    scope: scope.clone(),
                    token: None,
                })))
            }
        }
    }

    #[cfg(test)]
    pub fn set_client(&mut self, http: &reqwest::Client) {
        if let Credentials::Client(client) = self {
            client.http = http.clone();
        }
    }

    /// The secret's name, for messages.
    pub fn name(&self) -> &str {
        match self {
            Credentials::Fixed { name, .. } => name,
            Credentials::Client(client) => &client.name,
        }
    }

    /// Forgets a token that the server refused. Whether a new one can be had.
    pub fn renew(&mut self) -> bool {
        match self {
            Credentials::Fixed { .. } => false,
            Credentials::Client(client) => client.token.take().is_some(),
        }
    }

    /// What to put on a request now.
    pub async fn token(&mut self) -> Result<Token, DriverFault> {
        match self {
            Credentials::Fixed { token, .. } => Ok(token.clone()),
            Credentials::Client(client) => client.token().await.map(Token::Bearer),
        }
    }
}

/// Puts the credentials on a request.
pub(super) fn apply(request: RequestBuilder, token: Token) -> RequestBuilder {
    match token {
        Token::None => request,
        Token::Bearer(token) => request.bearer_auth(token.expose()),
        Token::Basic { user, password } => request.basic_auth(user, Some(password.expose())),
        Token::Query { name, key } => request.query(&[(name.as_str(), key.expose())]),
        Token::Header { name, key } => match HeaderValue::from_str(key.expose()) {
            Ok(mut value) => {
                value.set_sensitive(true);
                request.header(name, value)
            }
            // It was checked when it was read.
            Err(_) => request,
        },
    }
}

#[derive(serde::Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: Option<u64>,
}

impl OauthClient {
    /// The token, asked for anew when it is about to end.
    async fn token(&mut self) -> Result<SecretText, DriverFault> {
        if let Some((token, until)) = &self.token
            && until.is_none_or(|until| Instant::now() < until)
        {
            return Ok(token.clone());
        }
        let mut form = vec![("grant_type", "client_credentials")];
        if let Some(scope) = &self.scope {
            form.push(("scope", scope));
        }
        let request =
            self.http.post(self.url.clone()).basic_auth(&self.id, Some(self.secret.expose())).form(&form);
        let asked = Instant::now();
        let response =
            request.send().await.map_err(|error| DriverFault::retry(transport(&self.url, &error)))?;
        let status = response.status();
        if status == 400 || status == 401 {
            return Err(DriverFault::halt(format!(
                "the token server answered {status}: it doesn't accept the client; check its id, the secret {} and the \
                 scope",
                self.name
            )));
        }
        from_driver_status(&self.url, status, response.headers())?;
        let body = read_limited(response, MAX_TOKEN_ANSWER, &self.url).await?;
        let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|_| {
            DriverFault::halt(
                "the token server's answer isn't one of RFC 6749 section 5.1; check http.auth.token_url",
            )
        })?;
        let token = SecretText::new(answer.access_token);
        let until = answer.expires_in.map(|seconds| {
            let life = Duration::from_secs(seconds.min(365 * 24 * 3600));
            asked + life.saturating_sub(TOKEN_MARGIN)
        });
        self.token = Some((token.clone(), until));
        Ok(token)
    }
}
