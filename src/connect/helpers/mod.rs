//! What a mapping can call beside jq's own filters: the traps of New
//! Caledonia's data, each handled once, in Rust, with a test.
//!
//! Every helper is a jq filter without arguments: `.dateNaissance | partial_date`.
//! All of them give null on null and on a blank text, so that an absent value
//! stays absent. Their faults are fixed sentences: they can't hold a value.

mod commune;
mod company;
mod entities;
mod html;
mod partial_date;
mod phone;
mod text;
mod time;

pub use commune::commune_code;
pub use company::{rid, ridet};
pub use html::html_text;
pub use partial_date::partial_date;
pub use phone::e164;
pub use text::{folded, person_name};
pub use time::utc_time;

/// Why a helper can't answer: a fixed sentence that names the helper, says what
/// it takes, and never what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HelperFault(pub(crate) &'static str);

/// A helper: from a text that isn't blank to a text, or none where nothing is
/// left of it.
pub type Helper = fn(&str) -> Result<Option<String>, HelperFault>;

/// Every helper by its name in jq, whether it takes a whole number too (read as
/// its decimal digits), and its function.
pub(crate) const HELPERS: [(&str, bool, Helper); 9] = [
    ("commune_code", true, |text| commune_code(text).map(|code| Some(code.to_owned()))),
    ("e164", true, |text| e164(text).map(Some)),
    ("folded", false, |text| Ok(Some(folded(text)))),
    ("html_text", false, |text| Ok(html_text(text))),
    ("partial_date", true, |text| partial_date(text).map(Some)),
    ("person_name", false, |text| Ok(person_name(text))),
    ("rid", true, |text| rid(text).map(Some)),
    ("ridet", true, |text| ridet(text).map(Some)),
    ("utc_time", false, |text| utc_time(text).map(Some)),
];

/// Said when a helper is given an object, an array or a boolean.
pub(crate) const NOT_A_TEXT: HelperFault = HelperFault(
    "this helper takes a text or null, and was given something else; pass it the field that holds the text",
);

/// Whether `sentence` is one that a helper can say, so that it can be shown: it
/// holds no value.
pub(crate) fn is_helper_sentence(sentence: &str) -> bool {
    sentence == NOT_A_TEXT.0
        || [commune::FAULTS, company::FAULTS, partial_date::FAULTS, phone::FAULTS, time::FAULTS]
            .iter()
            .any(|faults| faults.iter().any(|fault| fault.0 == sentence))
}
