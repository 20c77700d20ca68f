//! What a grant leaves of a schema, and of a body.
//!
//! A record has no framing in Avro: what a grant leaves of it are the bytes of
//! the granted fields, one after the other. So a projection copies ranges of
//! the publisher's bytes along the publisher's schema, and encodes nothing anew
//! but the counts of arrays whose items are cut.

use super::avro;
use super::datum::{begin, skip};
use super::fault::{DataFault, SchemaFault};
use super::model::{Field, RecordType, Type, join};
use super::render::render;
use super::wire::{HEADER_BYTES, Input, Walk, put_long};
use crate::event::SchemaRef;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use strsim::levenshtein;

/// A schema cut down to what one grant gives.
#[derive(Debug)]
pub struct Projection {
    reference: SchemaRef,
    json: String,
    granted: Vec<String>,
    withheld: Vec<String>,
    source_header: [u8; HEADER_BYTES],
    header: [u8; HEADER_BYTES],
    root: Arc<RecordType>,
    /// None where everything is granted.
    cut: Option<RecordCut>,
}

/// What happens to each field of a record, in order.
type RecordCut = Vec<FieldCut>;

#[derive(Debug)]
enum FieldCut {
    Keep,
    Drop,
    /// Some of the fields of the record that it holds, inside arrays and unions.
    Into(RecordCut),
}

/// The granted paths, as a tree: a node without children grants its subtree.
#[derive(Default)]
struct Grants {
    children: BTreeMap<String, Grants>,
}

/// The first 32 hexadecimal digits of the SHA-256 of a schema's JSON text
/// (WIRE.md section 3).
pub(super) fn hex32(json: &str) -> String {
    Sha256::digest(json.as_bytes())[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Projection {
    /// Everything: the schema itself.
    pub(super) fn whole(
        reference: &SchemaRef,
        json: &str,
        root: &Arc<RecordType>,
        header: [u8; HEADER_BYTES],
    ) -> Projection {
        Projection {
            reference: reference.clone(),
            json: json.to_owned(),
            granted: vec!["*".to_owned()],
            withheld: Vec::new(),
            source_header: header,
            header,
            root: root.clone(),
            cut: None,
        }
    }

    /// What the paths `fields` leave of the schema `root`.
    pub(super) fn cut(
        reference: &SchemaRef,
        root: &Arc<RecordType>,
        source_header: [u8; HEADER_BYTES],
        fields: &[String],
    ) -> Result<Projection, SchemaFault> {
        let grants = Grants::parse(reference, root, fields)?;
        let (projected, cut) = cut_record(root, &grants);
        let json = render(&projected);
        let header = avro::header(&avro::parse(&reference.to_string(), &json)?);
        let reference = SchemaRef { projection: Some(hex32(&json)), ..reference.clone() };
        let kept = projected.leaves();
        let withheld = root.leaves().into_iter().filter(|path| !kept.contains(path)).collect();
        let granted = grants.paths(root);
        let root = root.clone();
        Ok(Projection { reference, json, granted, withheld, source_header, header, root, cut: Some(cut) })
    }

    /// The reference of the projected schema; with the grant `*`, that of the
    /// schema itself.
    pub fn reference(&self) -> &SchemaRef {
        &self.reference
    }

    /// The JSON text of the projected schema, self-contained.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The granted paths, none inside another, in the schema's order; or `*`.
    pub fn granted(&self) -> &[String] {
        &self.granted
    }

    /// The paths of the fields that aren't granted, down to the values, in the
    /// schema's order.
    pub fn withheld(&self) -> &[String] {
        &self.withheld
    }

    /// Whether everything is granted, so that the body stays as it was signed.
    pub fn is_whole(&self) -> bool {
        self.cut.is_none()
    }

    /// What the grant leaves of `body`, a [`Datum`](super::Datum) or the bytes
    /// that one was decoded from: a body in single-object encoding with the
    /// projected schema. The same body gives the same bytes.
    ///
    /// Fails where the body isn't of the schema that was projected.
    pub fn apply<B: AsRef<[u8]> + ?Sized>(&self, body: &B) -> Result<Vec<u8>, DataFault> {
        let body = body.as_ref();
        let mut input = begin(&self.source_header, body)?;
        let Some(cut) = &self.cut else { return Ok(body.to_vec()) };
        let mut out = Vec::with_capacity(body.len());
        out.extend_from_slice(&self.header);
        copy_record(&self.root, cut, &mut input, &mut out)
            .and_then(|()| input.finish())
            .map_err(|t| t.into_fault())?;
        Ok(out)
    }
}

fn copy_record(record: &RecordType, cut: &RecordCut, input: &mut Input<'_>, out: &mut Vec<u8>) -> Walk<()> {
    // Fields that are kept side by side are copied at once.
    let mut kept_from = input.at();
    for (field, cut) in record.fields.iter().zip(cut) {
        if !matches!(cut, FieldCut::Keep) {
            out.extend_from_slice(input.since(kept_from));
        }
        let done = match cut {
            FieldCut::Keep | FieldCut::Drop => skip(&field.ty, input),
            FieldCut::Into(cut) => copy(&field.ty, cut, input, out),
        };
        done.map_err(|t| t.in_field(&field.name))?;
        if !matches!(cut, FieldCut::Keep) {
            kept_from = input.at();
        }
    }
    out.extend_from_slice(input.since(kept_from));
    Ok(())
}

fn copy(ty: &Type, cut: &RecordCut, input: &mut Input<'_>, out: &mut Vec<u8>) -> Walk<()> {
    match ty {
        Type::Record(record) => copy_record(record, cut, input, out),
        Type::Optional { null_first, inner } => {
            let branch = input.index(2)?;
            put_long(out, branch as i64);
            match (branch == 0) == *null_first {
                true => Ok(()),
                false => copy(inner, cut, input, out),
            }
        }
        Type::Array(items) => {
            let mut index = 0;
            while let Some(block) = input.block()? {
                // Without the size that the writer may have given: it changes.
                put_long(out, block.items as i64);
                for _ in 0..block.items {
                    copy(items, cut, input, out).map_err(|t| t.in_item(index))?;
                    index += 1;
                }
            }
            out.push(0);
            Ok(())
        }
        // Only what holds a record is cut.
        other => skip(other, input),
    }
}

/// The record that `grants` leave of `record`, and how to cut its bytes.
fn cut_record(record: &RecordType, grants: &Grants) -> (Arc<RecordType>, RecordCut) {
    let mut fields = Vec::new();
    let mut cuts = Vec::with_capacity(record.fields.len());
    for field in &record.fields {
        let granted = grants.children.get(&field.name);
        match (granted, field.ty.record()) {
            (None, _) => cuts.push(FieldCut::Drop),
            (Some(below), Some(inner)) if !below.children.is_empty() => {
                let (inner, cut) = cut_record(inner, below);
                if cut.iter().all(|cut| matches!(cut, FieldCut::Keep)) {
                    fields.push(field.clone());
                    cuts.push(FieldCut::Keep);
                } else {
                    fields.push(Field { ty: with_record(&field.ty, inner), ..field.clone() });
                    cuts.push(FieldCut::Into(cut));
                }
            }
            (Some(_), _) => {
                fields.push(field.clone());
                cuts.push(FieldCut::Keep);
            }
        }
    }
    let projected = RecordType {
        name: record.name.clone(),
        doc: record.doc.clone(),
        extra: record.extra.clone(),
        fields,
    };
    (Arc::new(projected), cuts)
}

/// `ty` with `record` in place of the record inside its arrays and unions.
fn with_record(ty: &Type, record: Arc<RecordType>) -> Type {
    match ty {
        Type::Array(items) => Type::Array(Box::new(with_record(items, record))),
        Type::Optional { null_first, inner } => {
            Type::Optional { null_first: *null_first, inner: Box::new(with_record(inner, record)) }
        }
        _ => Type::Record(record),
    }
}

impl Grants {
    fn parse(reference: &SchemaRef, root: &RecordType, fields: &[String]) -> Result<Grants, SchemaFault> {
        let fault = |field: &str, detail: String| SchemaFault {
            place: reference.to_string(),
            field: field.to_owned(),
            detail,
        };
        if fields.is_empty() {
            return Err(fault("", "a grant needs at least one field, or [\"*\"]".to_owned()));
        }
        let known = root.paths();
        let mut grants = Grants::default();
        for path in fields {
            if path == "*" {
                return Err(fault("", "\"*\" grants every field, and stands alone".to_owned()));
            }
            if !known.contains(path) {
                let near = nearest(path, &known);
                return Err(fault(path, format!("there is no such field; near it are {}", near.join(", "))));
            }
            grants.add(path.split('.'));
        }
        grants.close();
        Ok(grants)
    }

    /// Adds a path. A node that was granted whole is marked by the child `*`
    /// until [`Grants::close`].
    fn add<'a>(&mut self, mut path: impl Iterator<Item = &'a str>) {
        match path.next() {
            Some(name) => self.children.entry(name.to_owned()).or_default().add(path),
            None => {
                self.children.insert("*".to_owned(), Grants::default());
            }
        }
    }

    /// What is granted whole needs no children.
    fn close(&mut self) {
        if self.children.contains_key("*") {
            self.children.clear();
        }
        self.children.values_mut().for_each(Grants::close);
    }

    fn paths(&self, root: &RecordType) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect(root, "", &mut paths);
        paths
    }

    fn collect(&self, record: &RecordType, prefix: &str, paths: &mut Vec<String>) {
        for field in &record.fields {
            let Some(below) = self.children.get(&field.name) else { continue };
            let path = join(prefix, &field.name);
            match field.ty.record() {
                Some(inner) if !below.children.is_empty() => below.collect(inner, &path, paths),
                _ => paths.push(path),
            }
        }
    }
}

/// The three paths that are the most like `path`.
fn nearest(path: &str, known: &[String]) -> Vec<String> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let mut ranked: Vec<(usize, &String)> =
        known.iter().map(|k| (levenshtein(path, k).min(1 + levenshtein(&last(path), &last(k))), k)).collect();
    ranked.sort();
    ranked.into_iter().take(3).map(|(_, k)| k.clone()).collect()
}
