//! What one grant gives and what it withholds, down to the fields, as the
//! documents show it.

use super::Grant;
use crate::schema::{EventSchema, Registry};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A grant, held against the schema.
pub(super) struct View {
    /// The schema of the highest version that is granted and that is known.
    pub(super) schema: Option<Arc<EventSchema>>,
    /// The paths of the values that are given, in the schema's order; as they
    /// are written in the grant where no schema is known.
    pub(super) given: Vec<String>,
    /// The paths of the values that are withheld, in the schema's order.
    pub(super) withheld: Vec<String>,
    /// What is granted and isn't in the schema.
    pub(super) unknown: Vec<String>,
}

impl View {
    pub(super) fn of(grant: &Grant, registry: &Registry) -> View {
        let versions = grant.versions.iter().rev();
        let known = versions.filter_map(|version| registry.get(grant.event_type.as_str(), *version));
        let Some(schema) = known.max_by_key(|schema| schema.version()) else {
            let unknown = Vec::new();
            return View { schema: None, given: grant.fields.clone(), withheld: Vec::new(), unknown };
        };
        let paths: BTreeSet<String> = schema.field_paths().into_iter().collect();
        let whole = grant.is_whole();
        let (fields, unknown): (Vec<String>, Vec<String>) =
            grant.fields.iter().cloned().partition(|field| whole || paths.contains(field));
        let granted = |path: &String| whole || fields.iter().any(|field| is_within(path, field));
        let (given, withheld) = schema.value_paths().into_iter().partition(granted);
        View { schema: Some(Arc::clone(schema)), given, withheld, unknown }
    }

    /// The paths to show of those that are given: records before what they hold,
    /// each with whether all that it holds is given.
    pub(super) fn given_tree(&self) -> Vec<(String, bool)> {
        let Some(schema) = &self.schema else {
            return self.given.iter().map(|path| (path.clone(), true)).collect();
        };
        let some = |path: &str, of: &[String]| of.iter().any(|value| is_within(value, path));
        let paths = schema.field_paths().into_iter().filter(|path| some(path, &self.given));
        paths.map(|path| (path.clone(), !some(&path, &self.withheld))).collect()
    }

    /// The paths to show of those that are withheld: a record of which nothing
    /// is given stands for all that it holds.
    pub(super) fn withheld_tops(&self) -> Vec<String> {
        let Some(schema) = &self.schema else { return Vec::new() };
        let mut tops: Vec<String> = Vec::new();
        for path in schema.field_paths() {
            let covered = tops.last().is_some_and(|top| is_within(&path, top));
            if !covered && !self.given.iter().any(|value| is_within(value, &path)) {
                tops.push(path);
            }
        }
        tops
    }

    /// The categories of personal data among what is given, as the schema's
    /// `pii` names them, in the schema's order.
    pub(super) fn categories(&self) -> Vec<String> {
        let mut categories: Vec<String> = Vec::new();
        for category in self.schema.iter().flat_map(|s| self.given.iter().filter_map(|path| s.pii_of(path))) {
            if !categories.iter().any(|known| known == category) {
                categories.push(category.to_owned());
            }
        }
        categories
    }

    /// Whether an event of this type is about a person; what isn't known is
    /// taken for one.
    pub(super) fn is_personal(&self) -> bool {
        self.schema.as_ref().is_none_or(|schema| schema.subject_kinds().any(|(_, personal)| personal))
    }
}

/// Whether `path` is `top`, or inside it.
pub(super) fn is_within(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
