//! The files of `schemas/`, compiled in.

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../schemas/", $path)))),*]
    };
}

/// Each file's path, seen from `schemas/`, and its text.
pub(super) const FILES: &[(&str, &str)] = files![
    "codelists/communes.csv",
    "codelists/countries.csv",
    "codelists/provinces.csv",
    "codelists/rome.csv",
    "common/nc.common.Coded.avsc",
    "common/nc.employment.Appellation.avsc",
    "common/nc.employment.Experience.avsc",
    "common/nc.employment.Occupation.avsc",
    "common/nc.employment.WorkingTime.avsc",
    "common/nc.person.Address.avsc",
    "common/nc.person.Contact.avsc",
    "common/nc.person.Gender.avsc",
    "common/nc.person.OtherName.avsc",
    "common/nc.person.Person.avsc",
    "nc.employment.jobseeker.registered/1.avsc",
    "nc.employment.offer.published/1.avsc",
    "nc.hub.delivery.withheld/1.avsc",
    "nc.hub.event.rejected/1.avsc",
    "nc.hub.person.erased/1.avsc",
    "nc.hub.schema.published/1.avsc",
    "nc.identity.account.verified/1.avsc",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_file_of_the_folder_is_compiled_in() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        let mut found = Vec::new();
        for folder in std::fs::read_dir(&root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()) {
            for file in std::fs::read_dir(folder).unwrap() {
                let path = file.unwrap().path();
                found.push(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
            }
        }
        found.sort();
        let compiled: Vec<&str> = FILES.iter().map(|(path, _)| *path).collect();
        assert_eq!(compiled, found);
    }
}
