//! Code lists: CSV files whose first two columns are `code` and `name`.

use super::fault::SchemaFault;
use std::collections::HashMap;

/// A code list: each code with its name and its further columns.
#[derive(Debug, PartialEq, Eq)]
pub struct CodeList {
    name: String,
    columns: Vec<String>,
    entries: Vec<Entry>,
    by_code: HashMap<String, usize>,
}

/// One code of a list.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The code.
    pub code: String,
    /// Its name, as the source writes it.
    pub name: String,
    further: Vec<String>,
}

impl CodeList {
    /// Reads the list `name` from CSV text; `file` is for the fault.
    pub(super) fn parse(name: &str, file: &str, text: &str) -> Result<CodeList, SchemaFault> {
        let fault = |detail: String| SchemaFault::new(file, detail);
        let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
        let columns: Vec<String> =
            reader.headers().map_err(|e| fault(e.to_string()))?.iter().map(str::to_owned).collect();
        if columns.first().map(String::as_str) != Some("code")
            || columns.get(1).map(String::as_str) != Some("name")
        {
            return Err(fault("its first two columns must be `code` and `name`".to_owned()));
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut by_code = HashMap::new();
        for row in reader.into_records() {
            let row = row.map_err(|e| fault(e.to_string()))?;
            let mut cells = row.iter().map(str::to_owned);
            let code = cells.next().unwrap_or_default();
            let name = cells.next().unwrap_or_default();
            if code.is_empty() || name.is_empty() || code.trim() != code || name.trim() != name {
                let line = row.position().map_or(0, |p| p.line());
                return Err(fault(format!(
                    "line {line}: a code and a name are needed, without spaces around them"
                )));
            }
            if by_code.insert(code.clone(), entries.len()).is_some() {
                return Err(fault(format!("the code {code} is there twice")));
            }
            entries.push(Entry { code, name, further: cells.collect() });
        }
        if entries.is_empty() {
            return Err(fault("it has no code".to_owned()));
        }
        Ok(CodeList { name: name.to_owned(), columns, entries, by_code })
    }

    /// The name of the list, `communes` for instance.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `code` is in the list.
    pub fn contains(&self, code: &str) -> bool {
        self.by_code.contains_key(code)
    }

    /// The entry of `code`.
    pub fn get(&self, code: &str) -> Option<&Entry> {
        self.by_code.get(code).map(|at| &self.entries[*at])
    }

    /// Every entry, in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What the column `column` says of `code`: `provinces` for instance.
    pub fn column(&self, code: &str, column: &str) -> Option<&str> {
        let entry = self.get(code)?;
        match self.columns.iter().position(|c| c == column)? {
            0 => Some(&entry.code),
            1 => Some(&entry.name),
            at => entry.further.get(at - 2).map(String::as_str),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_by_code_and_by_column() {
        let list = CodeList::parse("communes", "f", "code,name,provinces\n98827,Poya,nord;sud\n").unwrap();
        assert!(list.contains("98827") && !list.contains("98828"));
        assert_eq!(list.get("98827").unwrap().name, "Poya");
        assert_eq!(list.column("98827", "provinces"), Some("nord;sud"));
        assert_eq!(list.column("98827", "postal"), None);
    }

    #[test]
    fn a_list_with_a_fault_is_refused_and_the_file_named() {
        for text in [
            "",
            "name,code\nPoya,1\n",
            "code,name\n",
            "code,name\n1,a\n1,b\n",
            "code,name\n1,\n",
            "code,name\n1, a\n",
        ] {
            let fault = CodeList::parse("x", "codelists/x.csv", text).unwrap_err();
            assert!(fault.to_string().starts_with("codelists/x.csv: "), "{fault}");
        }
    }
}
