//! The reference lists every name of the language, as the checker knows it.

#[test]
fn every_name_has_its_row_in_the_reference_with_its_type_and_meaning() {
    let document = include_str!("../../../../docs/RULES.md");
    let rows: Vec<String> =
        rules::documented().iter().map(|it| format!("| `{}` | {} | {} |", it.name, it.of, it.meaning)).collect();
    let missing: Vec<_> = rows.iter().filter(|row| !document.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "not in docs/RULES.md:\n{missing:#?}");
    let listed = document.lines().filter(|line| line.starts_with("| `") && rows.iter().any(|row| row == line)).count();
    assert_eq!(listed, rows.len(), "each once");
}

#[test]
fn every_test_that_the_reference_names_exists() {
    let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = include_str!("../../../../docs/RULES.md");
    let named: Vec<(&str, &str)> = document.split('`').filter_map(|quoted| quoted.split_once(".rs::")).collect();
    assert!(named.len() > 15, "{}", named.len());
    for (file, test) in named {
        let path = match file.split_once('/') {
            None => format!("gateway/tests/{file}.rs"),
            Some(("machine", file)) => format!("routing/tests/machine/{file}.rs"),
            Some(("conduct", file)) => format!("gateway/tests/conduct/{file}.rs"),
            Some(("laws", file)) => format!("rules/tests/laws/{file}.rs"),
            Some((crate_name, file)) => format!("{crate_name}/tests/{file}.rs"),
        };
        let source = std::fs::read_to_string(crates.join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(source.contains(&format!("fn {test}(")), "{path} has no test `{test}`");
    }
}
