//! Whom a URL names: options of the command line give the broker's user in it.

use crate::bus::amqp::percent_decoded;
use reqwest::Url;
use zeroize::Zeroizing;

/// A user's name and password.
pub type Account = (String, Zeroizing<String>);

/// The user that `url` names, with what is escaped in its name and password, and
/// the URL without them. The user is none where none is named. `None` where what
/// is escaped isn't text, or the URL can't have a user.
pub fn account_of(mut url: Url) -> Option<(Url, Option<Account>)> {
    let account = match url.username() {
        "" => None,
        user => {
            let password = percent_decoded(url.password().unwrap_or_default())?;
            Some((percent_decoded(user)?, Zeroizing::new(password)))
        }
    };
    url.set_username("").and_then(|()| url.set_password(None)).ok()?;
    Some((url, account))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_read_from_a_url_and_taken_out_of_it() {
        let read = |text: &str| account_of(text.parse().unwrap());
        let (url, account) = read("amqp://gu%40est:p%C3%A9+@127.0.0.1:5672/v").unwrap();
        let (user, password) = account.unwrap();
        assert_eq!((user.as_str(), password.as_str()), ("gu@est", "pé+"));
        assert_eq!(url.as_str(), "amqp://127.0.0.1:5672/v");
        assert!(read("http://127.0.0.1:15672").unwrap().1.is_none());
        assert!(read("amqp://guest:%FF@h").is_none(), "a password that isn't text");
        assert!(read("mailto:someone").is_none(), "an address that can't have a user");
    }
}
